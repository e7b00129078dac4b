package kinds

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateQuota refuses what would not be obeyed: Kubernetes takes a name that nothing counts, and counts nothing.
func validateQuota(_ context.Context, object, old runtime.Object) field.ErrorList {
	q := object.(*corev1.ResourceQuota)
	spec := field.NewPath("spec")
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(q.Spec.Hard)) {
		at, value := spec.Child("hard").Key(string(name)), q.Spec.Hard[name]
		errs = append(errs, quotaName(at, string(name))...)
		if value.Sign() < 0 {
			errs = append(errs, field.Invalid(at, value.String(), "must be greater than or equal to 0"))
		}
		if whole(string(name)) && value.MilliValue()%1000 != 0 {
			errs = append(errs, field.Invalid(at, value.String(), "must be an integer"))
		}
	}
	errs = append(errs, validateScopes(spec, &q.Spec)...)
	if before, ok := old.(*corev1.ResourceQuota); ok {
		if !equality.Semantic.DeepEqual(before.Spec.Scopes, q.Spec.Scopes) {
			errs = append(errs, field.Invalid(spec.Child("scopes"), q.Spec.Scopes, "field is immutable"))
		}
		if !equality.Semantic.DeepEqual(before.Spec.ScopeSelector, q.Spec.ScopeSelector) {
			errs = append(errs, field.Invalid(spec.Child("scopeSelector"), q.Spec.ScopeSelector, "field is immutable"))
		}
	}
	return errs
}

// podLimits are the names of what pods take, besides requests of further resources.
func podLimits() []string {
	return []string{"pods", "cpu", "memory", "ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage"}
}

func objectCounts() []string {
	return []string{"services", "services.nodeports", "services.loadbalancers", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas"}
}

// whole tells whether a name is that of a number of objects.
func whole(name string) bool {
	return name == "pods" || strings.HasPrefix(name, "count/") || slices.Contains(objectCounts(), name) || strings.HasSuffix(name, ".storageclass.storage.k8s.io/persistentvolumeclaims")
}

// quotaName refuses names of what is not counted here.
func quotaName(at *field.Path, name string) field.ErrorList {
	class, ofClass, classed := strings.Cut(name, ".storageclass.storage.k8s.io/")
	counted, isCount := strings.CutPrefix(name, "count/")
	requested, isRequest := strings.CutPrefix(name, "requests.")
	switch {
	case slices.Contains(podLimits(), name) || slices.Contains(objectCounts(), name):
		return nil
	case isCount:
		return countName(at, name, schema.ParseGroupResource(counted))
	case classed && class != "" && (ofClass == "requests.storage" || ofClass == "persistentvolumeclaims"):
		return nil
	case isRequest || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		for _, msg := range validation.IsQualifiedName(requested) {
			return field.ErrorList{field.Invalid(at, name, msg)}
		}
		return nil
	}
	return field.ErrorList{field.NotSupported(at, name, append(append(podLimits(), objectCounts()...), "requests.<resource>",
		"<storage class>.storageclass.storage.k8s.io/requests.storage", "count/<resource>.<group>"))}
}

func countName(at *field.Path, name string, r schema.GroupResource) field.ErrorList {
	if r.Resource == "events" {
		return field.ErrorList{field.Invalid(at, name, "events go by themselves and are not counted")}
	}
	if len(validation.IsDNS1123Label(r.Resource)) > 0 || r.Group != "" && len(validation.IsDNS1123Subdomain(r.Group)) > 0 {
		return field.ErrorList{field.Invalid(at, name, "must be count/<resource> or count/<resource>.<group>")}
	}
	return nil
}

func quotaScopes() []corev1.ResourceQuotaScope {
	return []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeTerminating}
}

// validateScopes refuses scopes that are not known here, that contradict each other, or that have nothing to do with what is limited.
func validateScopes(spec *field.Path, q *corev1.ResourceQuotaSpec) field.ErrorList {
	var errs field.ErrorList
	used := map[corev1.ResourceQuotaScope]bool{}
	add := func(at *field.Path, scope corev1.ResourceQuotaScope) {
		errs = append(errs, oneOf(at, scope, quotaScopes())...)
		for _, name := range slices.Sorted(maps.Keys(q.Hard)) {
			if !allowedInScope(scope, string(name)) {
				errs = append(errs, field.Invalid(at, scope, fmt.Sprintf("unsupported scope applied to resource %s", name)))
			}
		}
		used[scope] = true
	}
	for i, scope := range q.Scopes {
		add(spec.Child("scopes").Index(i), scope)
	}
	if q.ScopeSelector != nil {
		for i, e := range q.ScopeSelector.MatchExpressions {
			at := spec.Child("scopeSelector", "matchExpressions").Index(i)
			add(at.Child("scopeName"), e.ScopeName)
			errs = append(errs, oneOf(at.Child("operator"), e.Operator, []corev1.ScopeSelectorOperator{corev1.ScopeSelectorOpExists})...)
			if len(e.Values) > 0 {
				errs = append(errs, field.Invalid(at.Child("values"), e.Values, "must be empty when operator is Exists"))
			}
		}
	}
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if used[pair[0]] && used[pair[1]] {
			errs = append(errs, field.Invalid(spec.Child("scopes"), pair[:], "conflicting scopes"))
		}
	}
	return errs
}

// allowedInScope tells whether a scope says anything about a resource: those who ask for nothing can be limited in number only.
func allowedInScope(scope corev1.ResourceQuotaScope, name string) bool {
	if scope == corev1.ResourceQuotaScopeBestEffort {
		return name == "pods"
	}
	return slices.Contains(podLimits(), name) || strings.HasPrefix(name, "requests.") && name != "requests.storage"
}

func quotaColumns() *columns {
	return &columns{
		names: []column{text("Request", "What is used of what is limited, but for limits."), text("Limit", "What is used of the limits that are limited."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			q := o.(*corev1.ResourceQuota)
			var requests, limits []string
			for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
				used, hard := q.Status.Used[name], q.Status.Hard[name]
				part := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
				if strings.HasPrefix(string(name), "limits.") {
					limits = append(limits, part)
				} else {
					requests = append(requests, part)
				}
			}
			return []any{strings.Join(requests, ", "), strings.Join(limits, ", "), age(q.CreationTimestamp, now)}
		},
	}
}
