package access

import (
	"context"
	"errors"
	"fmt"
	"iter"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
)

// RBAC decides by the roles and bindings that are stored.
type RBAC struct {
	roles           rbaclisters.RoleLister
	bindings        rbaclisters.RoleBindingLister
	clusterRoles    rbaclisters.ClusterRoleLister
	clusterBindings rbaclisters.ClusterRoleBindingLister
}

var (
	_ authorizer.Authorizer   = (*RBAC)(nil)
	_ authorizer.RuleResolver = (*RBAC)(nil)
)

// NewRBAC reads from the informers given; until they have synced it denies.
func NewRBAC(i rbacinformers.Interface) *RBAC {
	return &RBAC{roles: i.Roles().Lister(), bindings: i.RoleBindings().Lister(), clusterRoles: i.ClusterRoles().Lister(), clusterBindings: i.ClusterRoleBindings().Lister()}
}

// grant is a role that somebody has, and where it comes from.
type grant struct {
	rules []rbacv1.PolicyRule
	by    string
}

// grants gives what a user has, in the whole cluster and in a namespace where one is given. Roles that do not exist give
// nothing.
func (r *RBAC) grants(who user.Info, namespace string) iter.Seq2[grant, error] {
	return func(yield func(grant, error) bool) {
		bindings, err := r.clusterBindings.List(labels.Everything())
		if err != nil && !yield(grant{}, err) {
			return
		}
		for _, b := range bindings {
			if anyConcerns(b.Subjects, who, "") && !yield(r.role(b.RoleRef, "", fmt.Sprintf("ClusterRoleBinding %q of %s %q", b.Name, b.RoleRef.Kind, b.RoleRef.Name))) {
				return
			}
		}
		if namespace == "" {
			return
		}
		local, err := r.bindings.RoleBindings(namespace).List(labels.Everything())
		if err != nil && !yield(grant{}, err) {
			return
		}
		for _, b := range local {
			if anyConcerns(b.Subjects, who, namespace) && !yield(r.role(b.RoleRef, namespace, fmt.Sprintf("RoleBinding \"%s/%s\" of %s %q", b.Namespace, b.Name, b.RoleRef.Kind, b.RoleRef.Name))) {
				return
			}
		}
	}
}

// role gives the rules of the role that a binding names.
func (r *RBAC) role(ref rbacv1.RoleRef, namespace, by string) (grant, error) {
	rules, err := r.Rules(ref, namespace)
	return grant{rules: rules, by: by}, err
}

// Rules gives the rules of a role. A ClusterRole with an aggregation rule has those of the roles it selects as well.
func (r *RBAC) Rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := r.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := r.clusterRoles.Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return r.aggregated(role)
	}
	return nil, fmt.Errorf("access: unknown kind of role %q", ref.Kind)
}

func (r *RBAC) aggregated(role *rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	if role.AggregationRule == nil {
		return role.Rules, nil
	}
	rules := append([]rbacv1.PolicyRule{}, role.Rules...)
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("access: aggregation rule of %s: %w", role.Name, err)
		}
		selected, err := r.clusterRoles.List(selector)
		if err != nil {
			return nil, err
		}
		for _, s := range selected {
			if s.Name != role.Name {
				rules = append(rules, s.Rules...)
			}
		}
	}
	return rules, nil
}

// Authorize allows what a rule allows and has no opinion on the rest.
func (r *RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetUser() == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	for g, err := range r.grants(a.GetUser(), a.GetNamespace()) {
		if err != nil {
			continue // a binding of a role that does not exist gives nothing
		}
		for i := range g.rules {
			if allows(&g.rules[i], a) {
				return authorizer.DecisionAllow, "RBAC: allowed by " + g.by, nil
			}
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// RulesFor lists the rules that a user has in a namespace. Errors say which bindings could not be followed; the rest counts.
func (r *RBAC) RulesFor(_ context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	var errs []error
	for g, err := range r.grants(who, namespace) {
		errs = append(errs, err)
		for _, rule := range g.rules {
			if len(rule.Resources) > 0 {
				resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
			}
			if len(rule.NonResourceURLs) > 0 {
				paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
			}
		}
	}
	return resources, paths, false, errors.Join(errs...)
}

// rulesOf gives every rule that a user has in a namespace, for comparing.
func (r *RBAC) rulesOf(who user.Info, namespace string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for g, err := range r.grants(who, namespace) {
		if err == nil {
			rules = append(rules, g.rules...)
		}
	}
	return rules
}
