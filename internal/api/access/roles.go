package access

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func reading() []string { return []string{"get", "list", "watch"} }
func writing() []string { return []string{"create", "delete", "deletecollection", "patch", "update"} }

// knativeGroups are the groups of Knative's kinds.
func knativeGroups() []string {
	return []string{"serving.knative.dev", "eventing.knative.dev", "messaging.knative.dev", "sources.knative.dev", "flows.knative.dev", "sinks.knative.dev",
		"networking.internal.knative.dev", "autoscaling.internal.knative.dev", "caching.internal.knative.dev"}
}

func rule(groups, resources []string, verbs ...[]string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{APIGroups: groups, Resources: resources}
	for _, v := range verbs {
		r.Verbs = append(r.Verbs, v...)
	}
	return r
}

// viewRules read everything but secrets and access.
func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule([]string{""}, []string{"configmaps", "endpoints", "events", "namespaces", "namespaces/status", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "pods/log", "pods/status", "resourcequotas", "resourcequotas/status", "serviceaccounts", "services", "services/ended", "services/status"}, reading()),
		rule([]string{"apps"}, []string{"deployments", "deployments/scale", "deployments/status"}, reading()),
		rule([]string{"autoscaling"}, []string{"horizontalpodautoscalers", "horizontalpodautoscalers/status"}, reading()),
		rule([]string{"batch"}, []string{"jobs", "jobs/status"}, reading()),
		rule([]string{"discovery.k8s.io"}, []string{"endpointslices"}, reading()),
		rule([]string{"coordination.k8s.io"}, []string{"leases"}, reading()),
		rule([]string{"events.k8s.io"}, []string{"events"}, reading()),
		rule(knativeGroups(), []string{"*"}, reading()),
	}
}

// editRules change what view reads, and secrets, and get into pods.
func editRules() []rbacv1.PolicyRule {
	return append(viewRules(),
		rule([]string{""}, []string{"configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"}, writing()),
		rule([]string{""}, []string{"secrets"}, reading()),
		rule([]string{""}, []string{"pods/attach", "pods/exec", "pods/portforward"}, reading(), writing()),
		rule([]string{""}, []string{"pods/eviction"}, []string{"create"}),
		rule([]string{""}, []string{"serviceaccounts/token"}, []string{"create"}),
		rule([]string{""}, []string{"serviceaccounts"}, []string{"impersonate"}),
		rule([]string{"apps"}, []string{"deployments", "deployments/scale"}, writing()),
		rule([]string{"batch"}, []string{"jobs"}, writing()),
		rule([]string{"discovery.k8s.io"}, []string{"endpointslices"}, writing()),
		rule([]string{"coordination.k8s.io"}, []string{"leases"}, writing()),
		rule([]string{"events.k8s.io"}, []string{"events"}, writing()),
		rule(knativeGroups(), []string{"*"}, writing()),
	)
}

// adminRules give access to others as well.
func adminRules() []rbacv1.PolicyRule {
	return append(editRules(),
		rule([]string{rbacv1.GroupName}, []string{"roles", "rolebindings"}, reading(), writing()),
		rule([]string{"authorization.k8s.io"}, []string{"localsubjectaccessreviews"}, []string{"create"}),
	)
}

// Roles are the roles that every installation has.
func Roles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		{ObjectMeta: standard("cluster-admin"), Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, {NonResourceURLs: []string{"*"}, Verbs: []string{"*"}}}},
		{ObjectMeta: standard("admin"), Rules: adminRules(), AggregationRule: aggregate("admin", "edit", "view")},
		{ObjectMeta: standard("edit"), Rules: editRules(), AggregationRule: aggregate("edit", "view")},
		{ObjectMeta: standard("view"), Rules: viewRules(), AggregationRule: aggregate("view")},
		{ObjectMeta: standard("system:basic-user"), Rules: []rbacv1.PolicyRule{
			rule([]string{"authorization.k8s.io"}, []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}, []string{"create"}),
			rule([]string{"authentication.k8s.io"}, []string{"selfsubjectreviews"}, []string{"create"})}},
		{ObjectMeta: standard("system:discovery"), Rules: []rbacv1.PolicyRule{{
			Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"}}}},
		{ObjectMeta: standard("system:public-info-viewer"), Rules: []rbacv1.PolicyRule{{
			Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}}}},
		{ObjectMeta: standard("system:auth-delegator"), Rules: []rbacv1.PolicyRule{
			rule([]string{"authentication.k8s.io"}, []string{"tokenreviews"}, []string{"create"}),
			rule([]string{"authorization.k8s.io"}, []string{"subjectaccessreviews"}, []string{"create"})}},
	}
}

// Bindings give some of the roles to groups.
func Bindings() []*rbacv1.ClusterRoleBinding {
	bind := func(role string, groups ...string) *rbacv1.ClusterRoleBinding {
		b := &rbacv1.ClusterRoleBinding{ObjectMeta: standard(role), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
		for _, g := range groups {
			b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: g})
		}
		return b
	}
	return []*rbacv1.ClusterRoleBinding{
		bind("cluster-admin", "system:masters"),
		bind("system:basic-user", "system:authenticated"),
		bind("system:discovery", "system:authenticated"),
		bind("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
	}
}

func standard(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}}
}

// aggregate takes in the roles that are labelled for one of the roles named.
func aggregate(roles ...string) *rbacv1.AggregationRule {
	a := &rbacv1.AggregationRule{}
	for _, role := range roles {
		a.ClusterRoleSelectors = append(a.ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + role: "true"}})
	}
	return a
}
