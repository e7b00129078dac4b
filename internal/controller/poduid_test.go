package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestPodUID holds that a program and the API know an instance by the same UID.
func TestPodUID(t *testing.T) {
	h := newHouse(t)
	patch := []byte(`{"data":{"kubernetes.podspec-fieldref":"enabled"}}`)
	if _, err := h.kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-features", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	told := h.service("told", "here", func(s *v1.Service) {
		container := &s.Spec.Template.Spec.Containers[0]
		container.Env = append(container.Env, corev1.EnvVar{Name: "POD_UID", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}})
	})
	eventually(t, "fields of the pod are allowed", func(ctx context.Context) error {
		_, err := h.serving.ServingV1().Services("default").Create(ctx, told, metav1.CreateOptions{})
		return err
	})
	h.waitReady(t, "told", "")
	eventually(t, "the UID is the Pod's", func(ctx context.Context) error {
		_, env, err := h.get(ctx, host("told"), "/env")
		if err != nil {
			return err
		}
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "serving.knative.dev/service=told"})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if strings.Contains(env, "POD_UID="+string(pods.Items[i].UID)+"\n") && len(pods.Items[i].UID) == 36 {
				return nil
			}
		}
		return fmt.Errorf("none of %d pods has the UID of %s", len(pods.Items), env)
	})
}
