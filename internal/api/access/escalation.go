package access

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Escalation refuses roles and bindings by which somebody would give away more than they have. The verbs "escalate" (on
// roles) and "bind" (on a role) allow it.
type Escalation struct {
	RBAC       *RBAC
	Authorizer authorizer.Authorizer
}

var _ admission.ValidationInterface = (*Escalation)(nil)

// Handles reports which operations are looked at.
func (*Escalation) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate checks a role or binding that is written.
func (e *Escalation) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != rbacv1.GroupName || slices.Contains(a.GetUserInfo().GetGroups(), user.SystemPrivilegedGroup) {
		return nil
	}
	given, ref := gives(a.GetObject())
	if before, _ := gives(a.GetOldObject()); a.GetOldObject() != nil && ref == nil && equality.Semantic.DeepEqual(given, before) {
		return nil
	}
	verb, resource, name := "escalate", a.GetResource().Resource, a.GetName()
	if ref != nil {
		var err error
		if given, err = e.RBAC.Rules(*ref, a.GetNamespace()); err != nil {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), err)
		}
		verb, resource, name = "bind", map[string]string{"Role": "roles", "ClusterRole": "clusterroles"}[ref.Kind], ref.Name
	}
	covered, missing := validation.Covers(e.RBAC.rulesOf(a.GetUserInfo(), a.GetNamespace()), given)
	if covered {
		return nil
	}
	decision, _, err := e.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: verb, Namespace: a.GetNamespace(), APIGroup: rbacv1.GroupName, APIVersion: "v1", Resource: resource, Name: name, ResourceRequest: true,
	})
	if err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf("user %q is attempting to grant RBAC permissions not currently held:\n%s", a.GetUserInfo().GetName(), list(missing)))
}

// gives is what a role contains, or the role that a binding names.
func gives(object runtime.Object) ([]rbacv1.PolicyRule, *rbacv1.RoleRef) {
	switch o := object.(type) {
	case *rbacv1.Role:
		return o.Rules, nil
	case *rbacv1.ClusterRole:
		return o.Rules, nil
	case *rbacv1.RoleBinding:
		return nil, &o.RoleRef
	case *rbacv1.ClusterRoleBinding:
		return nil, &o.RoleRef
	}
	return nil, nil
}

func list(rules []rbacv1.PolicyRule) string {
	text := ""
	for i, r := range rules {
		if i > 0 {
			text += "\n"
		}
		if len(r.NonResourceURLs) > 0 {
			text += fmt.Sprintf("{NonResourceURLs:%q, Verbs:%q}", r.NonResourceURLs, r.Verbs)
			continue
		}
		text += fmt.Sprintf("{APIGroups:%q, Resources:%q, Verbs:%q}", r.APIGroups, r.Resources, r.Verbs)
	}
	return text
}
