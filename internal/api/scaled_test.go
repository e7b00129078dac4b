package api_test

import (
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestHorizontalPodAutoscalerIsAView lets the process itself write one, and everybody read it; nobody else's is taken.
func TestHorizontalPodAutoscalerIsAView(t *testing.T) {
	w := begin(t, "", nil)
	own, err := kubernetes.NewForConfig(w.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	target := int32(75)
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "hello-00001"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "hello-00001-deployment"}, MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: "cpu", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target}}}},
		},
	}
	users := w.client(t).AutoscalingV2().HorizontalPodAutoscalers("default")
	const text = `horizontalpodautoscalers.autoscaling "hello-00001" is forbidden: the number of instances belongs to Fairlead`
	if _, err := users.Create(t.Context(), hpa, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), text) {
		t.Errorf("a user's: %v", err)
	}
	if _, err := own.AutoscalingV2().HorizontalPodAutoscalers("default").Create(t.Context(), hpa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := users.Get(t.Context(), "hello-00001", metav1.GetOptions{})
	if err != nil || *got.Spec.Metrics[0].Resource.Target.AverageUtilization != 75 {
		t.Fatalf("read: %+v, %v", got, err)
	}
	got.Spec.MaxReplicas = 3
	if _, err := users.Update(t.Context(), got, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user's change: %v", err)
	}
	if err := users.Delete(t.Context(), "hello-00001", metav1.DeleteOptions{}); err != nil {
		t.Errorf("deleting: %v", err)
	}
}
