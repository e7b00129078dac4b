package access

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const wildcard = "*"

// allows says whether a rule allows a request.
func allows(rule *rbacv1.PolicyRule, a authorizer.Attributes) bool {
	if !has(rule.Verbs, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool { return matchesURL(pattern, a.GetPath()) })
	}
	return has(rule.APIGroups, a.GetAPIGroup()) && matchesResource(rule.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.GetName()))
}

func has(allowed []string, value string) bool {
	return slices.Contains(allowed, wildcard) || slices.Contains(allowed, value)
}

// matchesResource knows "pods", "pods/log", "*/log" and "*".
func matchesResource(allowed []string, resource, subresource string) bool {
	if subresource == "" {
		return has(allowed, resource)
	}
	return has(allowed, resource+"/"+subresource) || slices.Contains(allowed, wildcard+"/"+subresource)
}

// matchesURL knows exact paths and prefixes that end in "*".
func matchesURL(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, wildcard); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// concerns says whether a subject of a binding is the user. Service accounts of a RoleBinding may leave out the namespace.
func concerns(subject *rbacv1.Subject, who user.Info, namespace string) bool {
	switch subject.Kind {
	case rbacv1.UserKind:
		return who.GetName() == subject.Name
	case rbacv1.GroupKind:
		return slices.Contains(who.GetGroups(), subject.Name)
	case rbacv1.ServiceAccountKind:
		if subject.Namespace != "" {
			namespace = subject.Namespace
		}
		return namespace != "" && serviceaccount.MatchesUsername(namespace, subject.Name, who.GetName())
	}
	return false
}

func anyConcerns(subjects []rbacv1.Subject, who user.Info, namespace string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return concerns(&s, who, namespace) })
}
