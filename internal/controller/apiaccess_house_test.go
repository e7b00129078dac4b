package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestInstanceReachesAPI lets a program call the API as its service account: refused by default, allowed by a role binding.
func TestInstanceReachesAPI(t *testing.T) {
	h := newHouse(t)
	h.ready(t, h.service("client", "here"))
	const path = "/api?path=/api/v1/namespaces/default/configmaps"
	status, body, err := h.get(t.Context(), host("client"), path)
	if err != nil || status != http.StatusForbidden || !strings.Contains(body, `\"system:serviceaccount:default:default\" cannot list`) {
		t.Fatalf("without a role: %d %s %v", status, body, err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "client"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: "default"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
	if _, err := h.kube.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role is in force", func(ctx context.Context) error {
		status, body, err := h.get(ctx, host("client"), path)
		if err != nil || status != http.StatusOK || !strings.Contains(body, "ConfigMapList") {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	h.expect(t, host("client"), "/file?name=/var/run/secrets/kubernetes.io/serviceaccount/namespace", "default")

	no := false
	h.ready(t, h.service("without", "here", func(s *v1.Service) { s.Spec.Template.Spec.AutomountServiceAccountToken = &no }))
	if status, body, err := h.get(t.Context(), host("without"), path); err != nil || status != http.StatusNotFound {
		t.Errorf("without the mount: %d %s %v", status, body, err)
	}
}
