package controller

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	hparesources "knative.dev/serving/pkg/reconciler/autoscaling/hpa/resources"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
)

// viewScaling keeps the HorizontalPodAutoscaler that Knative would make for a revision of the class hpa. The scaler reads none of it.
func (c *Controller) viewScaling(ctx context.Context, p *plan, state *scaleState, pa *autoscalingv1alpha1.PodAutoscaler) error {
	client := c.kube.AutoscalingV2().HorizontalPodAutoscalers(pa.Namespace)
	want := hparesources.MakeHPA(pa, c.settings().autoscaler)
	completeHPA(&want.Spec, &p.spec)
	hpa, err := client.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrs.IsNotFound(err) {
		hpa, err = client.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("horizontalpodautoscaler %q: %w", want.Name, err)
	}
	if !metav1.IsControlledBy(hpa, pa) {
		return fmt.Errorf("horizontalpodautoscaler %q: the one of an earlier revision has not gone yet", want.Name)
	}
	if !equality.Semantic.DeepEqual(hpa.Spec, want.Spec) {
		changed := hpa.DeepCopy()
		changed.Spec = want.Spec
		if hpa, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("horizontalpodautoscaler %q: %w", want.Name, err)
		}
	}
	status := state.scalingStatus(p, metav1.NewTime(c.now()))
	for i := range status.Conditions {
		for _, old := range hpa.Status.Conditions {
			if n := &status.Conditions[i]; n.Type == old.Type && n.Status == old.Status {
				n.LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	if equality.Semantic.DeepEqual(status, hpa.Status) {
		return nil
	}
	changed := hpa.DeepCopy()
	changed.Status = status
	if _, err = client.UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("status of horizontalpodautoscaler %q: %w", want.Name, err)
	}
	return nil
}

// completeHPA writes out what Kubernetes would add to an autoscaler that leaves it open.
func completeHPA(h *autoscalingv2.HorizontalPodAutoscalerSpec, s *autoscale.Spec) {
	if h.MinReplicas == nil {
		h.MinReplicas = ptr.Int32(1)
	}
	if len(h.Metrics) == 0 {
		h.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.Int32(int32(s.Target))},
		}}}
	}
}

// scalingStatus is the status a HorizontalPodAutoscaler of these instances has.
func (s *scaleState) scalingStatus(p *plan, now metav1.Time) autoscalingv2.HorizontalPodAutoscalerStatus {
	able := autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "ReadyForNewScale",
		Message: "recommended size matches current size", LastTransitionTime: now,
	}
	if s.ready != s.want {
		able.Reason, able.Message = "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", s.want)
	}
	active := autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric",
		Message: "the instances have not been measured yet", LastTransitionTime: now,
	}
	status := autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: s.ready, DesiredReplicas: s.want}
	if s.measured {
		active.Status, active.Reason, active.Message = corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count"
		status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: s.usedResource(p)}}
	}
	status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{able, active}
	return status
}

// usedResource says what the instances use on average.
func (s *scaleState) usedResource(p *plan) *autoscalingv2.ResourceMetricStatus {
	if p.spec.Metric == string(corev1.ResourceMemory) {
		return &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceMemory, Current: autoscalingv2.MetricValueStatus{AverageValue: resource.NewQuantity(int64(s.usage)<<20, resource.BinarySI)},
		}
	}
	return &autoscalingv2.ResourceMetricStatus{Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{
		AverageUtilization: ptr.Int32(s.usage),
		AverageValue:       resource.NewMilliQuantity(int64(s.usage)*p.needs.cpuMillis/100, resource.DecimalSI),
	}}
}
