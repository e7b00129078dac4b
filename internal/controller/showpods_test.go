package controller_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsAreShownToWhoAsks wakes services from zero: who asks for the logs of one right after its first answer finds the instance.
func TestPodsAreShownToWhoAsks(t *testing.T) {
	h := newHouse(t)
	h.ready(t, h.service("show", "hi", annotated("autoscaling.knative.dev/window", "6s")))
	selector := metav1.ListOptions{LabelSelector: "serving.knative.dev/service=show"}
	for range 2 {
		eventually(t, "no instance is left", func(ctx context.Context) error {
			pods, err := h.kube.CoreV1().Pods("default").List(ctx, selector)
			if err == nil && len(pods.Items) > 0 {
				err = fmt.Errorf("%d pods", len(pods.Items))
			}
			return err
		})
		h.expect(t, host("show"), "/", "hi show-00001")
		err := h.kube.CoreV1().RESTClient().Get().Namespace("default").Resource("services").Name("show").SubResource("ended").Do(t.Context()).Error()
		if err != nil {
			t.Fatal(err)
		}
		pods, err := h.kube.CoreV1().Pods("default").List(t.Context(), selector)
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning {
			t.Errorf("after the first answer the API shows %+v", pods.Items)
		}
	}
}
