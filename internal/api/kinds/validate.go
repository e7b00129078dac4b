package kinds

import (
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxDataBytes is the largest sum of entries of a ConfigMap or Secret.
const maxDataBytes = 1 << 20

func validateConfigMap(_ context.Context, object, old runtime.Object) field.ErrorList {
	c := object.(*corev1.ConfigMap)
	var errs field.ErrorList
	total := 0
	for k, v := range c.Data {
		total += len(v)
		errs = append(errs, validateKey(field.NewPath("data").Key(k), k)...)
		if _, twice := c.BinaryData[k]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(k), k, "duplicate of key present in binaryData"))
		}
	}
	for k, v := range c.BinaryData {
		total += len(v)
		errs = append(errs, validateKey(field.NewPath("binaryData").Key(k), k)...)
	}
	if total > maxDataBytes {
		errs = append(errs, field.TooLong(field.NewPath(""), "", maxDataBytes))
	}
	if old, ok := old.(*corev1.ConfigMap); ok && isTrue(old.Immutable) {
		errs = append(errs, unchangedWhenImmutable("immutable", c.Immutable, old.Immutable)...)
		errs = append(errs, unchangedWhenImmutable("data", c.Data, old.Data)...)
		errs = append(errs, unchangedWhenImmutable("binaryData", c.BinaryData, old.BinaryData)...)
	}
	return errs
}

func isTrue(b *bool) bool { return b != nil && *b }

func unchangedWhenImmutable(name string, now, before any) field.ErrorList {
	if equality.Semantic.DeepEqual(now, before) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")}
}

func validateKey(path *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path, key, msg))
	}
	return errs
}

func validateSecret(_ context.Context, object, old runtime.Object) field.ErrorList {
	s := object.(*corev1.Secret)
	var errs field.ErrorList
	total := 0
	for k, v := range s.Data {
		total += len(v)
		errs = append(errs, validateKey(field.NewPath("data").Key(k), k)...)
	}
	if total > maxDataBytes {
		errs = append(errs, field.TooLong(field.NewPath("data"), "", maxDataBytes))
	}
	for _, key := range secretKeys()[s.Type] {
		if _, ok := s.Data[key]; !ok {
			errs = append(errs, field.Required(field.NewPath("data").Key(key), ""))
		}
	}
	old2, ok := old.(*corev1.Secret)
	if !ok {
		return errs
	}
	if s.Type != old2.Type {
		errs = append(errs, field.Invalid(field.NewPath("type"), s.Type, "field is immutable"))
	}
	if isTrue(old2.Immutable) {
		errs = append(errs, unchangedWhenImmutable("immutable", s.Immutable, old2.Immutable)...)
		errs = append(errs, unchangedWhenImmutable("data", s.Data, old2.Data)...)
	}
	return errs
}

// secretKeys are the entries that a secret of a type must have.
func secretKeys() map[corev1.SecretType][]string {
	return map[corev1.SecretType][]string{
		corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
		corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
		corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
		corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	}
}

func validateService(_ context.Context, object, _ runtime.Object) field.ErrorList {
	s := object.(*corev1.Service)
	spec := field.NewPath("spec")
	var errs field.ErrorList
	types := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName}
	errs = append(errs, oneOf(spec.Child("type"), s.Spec.Type, types)...)
	if s.Spec.Type == corev1.ServiceTypeExternalName && s.Spec.ExternalName == "" {
		errs = append(errs, field.Required(spec.Child("externalName"), ""))
	}
	if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP != corev1.ClusterIPNone && s.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	names := map[string]bool{}
	for i, p := range s.Spec.Ports {
		at := spec.Child("ports").Index(i)
		if len(s.Spec.Ports) > 1 && p.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if names[p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[p.Name] = true
		errs = append(errs, validatePort(at.Child("port"), p.Port)...)
		if p.NodePort != 0 {
			errs = append(errs, validatePort(at.Child("nodePort"), p.NodePort)...)
		}
		errs = append(errs, oneOf(at.Child("protocol"), p.Protocol, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP})...)
	}
	return errs
}

func validatePort(path *field.Path, port int32) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortNum(int(port)) {
		errs = append(errs, field.Invalid(path, port, msg))
	}
	return errs
}

func oneOf[T ~string](path *field.Path, value T, allowed []T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

func validateClaim(_ context.Context, object, old runtime.Object) field.ErrorList {
	c := object.(*corev1.PersistentVolumeClaim)
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if len(c.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(spec.Child("accessModes"), "at least 1 access mode is required"))
	}
	if _, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(spec.Child("resources").Key(string(corev1.ResourceStorage)), ""))
	}
	if old, ok := old.(*corev1.PersistentVolumeClaim); ok && !equality.Semantic.DeepEqual(c.Spec.AccessModes, old.Spec.AccessModes) {
		errs = append(errs, field.Forbidden(spec.Child("accessModes"), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	return errs
}

func validateEvent(_ context.Context, object, _ runtime.Object) field.ErrorList {
	e := object.(*corev1.Event)
	about := e.InvolvedObject.Namespace
	if about == "" && e.Namespace == "default" || about == e.Namespace || about == "" && e.Namespace == "kube-system" {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")}
}

func validateEndpointSlice(_ context.Context, object, _ runtime.Object) field.ErrorList {
	e := object.(*discoveryv1.EndpointSlice)
	return oneOf(field.NewPath("addressType"), e.AddressType, []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN})
}

func validateRole(_ context.Context, object, _ runtime.Object) field.ErrorList {
	var rules []rbacv1.PolicyRule
	cluster := false
	switch r := object.(type) {
	case *rbacv1.Role:
		rules = r.Rules
	case *rbacv1.ClusterRole:
		rules, cluster = r.Rules, true
	}
	var errs field.ErrorList
	for i, rule := range rules {
		at := field.NewPath("rules").Index(i)
		if len(rule.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
		}
		if len(rule.NonResourceURLs) > 0 {
			if !cluster {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			continue
		}
		if len(rule.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(rule.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	return errs
}

// bindingParts gives the role and the subjects of either kind of binding.
func bindingParts(object runtime.Object) (rbacv1.RoleRef, []rbacv1.Subject) {
	switch b := object.(type) {
	case *rbacv1.RoleBinding:
		return b.RoleRef, b.Subjects
	case *rbacv1.ClusterRoleBinding:
		return b.RoleRef, b.Subjects
	}
	return rbacv1.RoleRef{}, nil
}

func validateBinding(_ context.Context, object, old runtime.Object) field.ErrorList {
	ref, subjects := bindingParts(object)
	_, cluster := object.(*rbacv1.ClusterRoleBinding)
	at := field.NewPath("roleRef")
	var errs field.ErrorList
	kinds := []string{"Role", "ClusterRole"}
	if cluster {
		kinds = kinds[1:]
	}
	errs = append(errs, oneOf(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName})...)
	errs = append(errs, oneOf(at.Child("kind"), ref.Kind, kinds)...)
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	for i, s := range subjects {
		at := field.NewPath("subjects").Index(i)
		errs = append(errs, oneOf(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind})...)
		if s.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if s.Kind == rbacv1.ServiceAccountKind && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	}
	if old != nil {
		if before, _ := bindingParts(old); before != ref {
			errs = append(errs, field.Invalid(at, ref, "cannot change roleRef"))
		}
	}
	return errs
}

func validateHooks(_ context.Context, object, _ runtime.Object) field.ErrorList {
	var errs field.ErrorList
	check := func(i int, name string, client admissionregistrationv1.WebhookClientConfig, reviews []string, effects *admissionregistrationv1.SideEffectClass, timeout *int32) {
		at := field.NewPath("webhooks").Index(i)
		for _, msg := range validation.IsDNS1123Subdomain(name) {
			errs = append(errs, field.Invalid(at.Child("name"), name, msg))
		}
		if (client.URL == nil) == (client.Service == nil) {
			errs = append(errs, field.Required(at.Child("clientConfig"), "exactly one of url or service is required"))
		}
		if !slices.Contains(reviews, "v1") {
			errs = append(errs, field.Invalid(at.Child("admissionReviewVersions"), reviews, "must include v1"))
		}
		none, onDryRun := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun
		if effects == nil || *effects != none && *effects != onDryRun {
			errs = append(errs, field.Required(at.Child("sideEffects"), fmt.Sprintf("must specify one of %s, %s", none, onDryRun)))
		}
		if timeout != nil && (*timeout < 1 || *timeout > 30) {
			errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *timeout, "the timeout value must be between 1 and 30 seconds"))
		}
	}
	switch c := object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i, h := range c.Webhooks {
			check(i, h.Name, h.ClientConfig, h.AdmissionReviewVersions, h.SideEffects, h.TimeoutSeconds)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i, h := range c.Webhooks {
			check(i, h.Name, h.ClientConfig, h.AdmissionReviewVersions, h.SideEffects, h.TimeoutSeconds)
		}
	}
	return errs
}
