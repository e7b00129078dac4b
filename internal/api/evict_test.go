package api_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func eviction(name string, options *metav1.DeleteOptions) *policyv1.Eviction {
	return &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, DeleteOptions: options}
}

// TestEviction deletes a pod by evicting it, in protobuf and in JSON.
func TestEviction(t *testing.T) {
	w := begin(t, "", nil)
	inJSON, err := kubernetes.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]kubernetes.Interface{"protobuf": w.client(t), "json": inJSON} {
		pods := client.CoreV1().Pods("default")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/a"}}}}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		other := types.UID("other")
		if err := pods.EvictV1(t.Context(), eviction(name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})); !apierrors.IsConflict(err) {
			t.Errorf("%s: another pod of that name: %v", name, err)
		}
		if err := pods.EvictV1(t.Context(), eviction(name, &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})); err != nil {
			t.Errorf("%s: dry run: %v", name, err)
		}
		if _, err := pods.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("%s: after a dry run: %v", name, err)
		}
		if err := pods.EvictV1(t.Context(), eviction(name, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := pods.EvictV1(t.Context(), eviction(name, nil)); !apierrors.IsNotFound(err) {
			t.Errorf("%s: once more: %v", name, err)
		}
	}
	wrong := w.client(t).CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("a").SubResource("eviction").Body(eviction("b", nil)).Do(t.Context()).Error()
	if !apierrors.IsBadRequest(wrong) || !strings.Contains(wrong.Error(), `"a" is not "b"`) {
		t.Errorf("two names: %v", wrong)
	}
}

// TestEvictionIsFound looks for evictions the way kubectl drain does.
func TestEvictionIsFound(t *testing.T) {
	w := begin(t, "", nil)
	list, err := w.client(t).Discovery().ServerResourcesForGroupVersion("v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.APIResources {
		if r.Name == "pods/eviction" && r.Kind == "Eviction" && r.Group == "policy" && r.Version == "v1" {
			return
		}
	}
	t.Errorf("not among %v", list.APIResources)
}

// TestAggregationIsRefused wants to hear that and why there is none.
func TestAggregationIsRefused(t *testing.T) {
	w := begin(t, "", nil)
	d, err := dynamic.NewForConfig(rest.CopyConfig(w.admin(t)))
	if err != nil {
		t.Fatal(err)
	}
	client := d.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1beta1.metrics.k8s.io"},
		"spec": map[string]any{"group": "metrics.k8s.io", "version": "v1beta1", "service": map[string]any{"name": "s", "namespace": "kube-system"}, "groupPriorityMinimum": int64(100), "versionPriority": int64(100)},
	}}
	_, err = client.Create(t.Context(), service, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `APIService "v1beta1.metrics.k8s.io" is refused: Fairlead does not pass requests on to other API servers`) {
		t.Errorf("create: %v", err)
	}
	_, err = client.Apply(t.Context(), service.GetName(), service, metav1.ApplyOptions{FieldManager: "test"})
	if err == nil || !strings.Contains(err.Error(), "CustomResourceDefinition") {
		t.Errorf("apply: %v", err)
	}
	if list, err := client.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}
