package kinds

import (
	"fmt"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// shadowed tells the types that another version of their group stands in for: of autoscaling/v1 only the scale of a Deployment is served.
func shadowed(gvk schema.GroupVersionKind) bool {
	return gvk.GroupVersion() == autoscalingv1.SchemeGroupVersion && strings.HasPrefix(gvk.Kind, "HorizontalPodAutoscaler")
}

func autoscalerRow() *row {
	return &row{gvk: autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), plural: "horizontalpodautoscalers", singular: "horizontalpodautoscaler",
		short: []string{"hpa"}, categories: []string{"all"}, namespaced: true, object: &autoscalingv2.HorizontalPodAutoscaler{}, list: &autoscalingv2.HorizontalPodAutoscalerList{},
		status: true, columns: autoscalerColumns()}
}

func autoscalerColumns() *columns {
	return &columns{
		names: []column{text("Reference", "What is scaled."), text("Targets", "What is measured, and the target."), text("MinPods", "Least number of instances."),
			text("MaxPods", "Largest number of instances."), text("Replicas", "Instances there are."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			h := o.(*autoscalingv2.HorizontalPodAutoscaler)
			least := "<unset>"
			if h.Spec.MinReplicas != nil {
				least = fmt.Sprint(*h.Spec.MinReplicas)
			}
			return []any{h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, metricTargets(h), least,
				fmt.Sprint(h.Spec.MaxReplicas), fmt.Sprint(h.Status.CurrentReplicas), age(h.CreationTimestamp, now)}
		},
	}
}

// metricTargets writes each metric as name: now/target.
func metricTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var parts []string
	for i, m := range h.Spec.Metrics {
		current := "<unknown>"
		switch {
		case m.Resource != nil:
			if i < len(h.Status.CurrentMetrics) && h.Status.CurrentMetrics[i].Resource != nil {
				current = metricValue(m.Resource.Target, h.Status.CurrentMetrics[i].Resource.Current)
			}
			parts = append(parts, fmt.Sprintf("%s: %s/%s", m.Resource.Name, current, targetValue(m.Resource.Target)))
		case m.Pods != nil:
			parts = append(parts, fmt.Sprintf("%s: %s/%s", m.Pods.Metric.Name, current, targetValue(m.Pods.Target)))
		}
	}
	return orNone(parts)
}

func metricValue(target autoscalingv2.MetricTarget, current autoscalingv2.MetricValueStatus) string {
	switch {
	case target.AverageUtilization != nil && current.AverageUtilization != nil:
		return fmt.Sprintf("%d%%", *current.AverageUtilization)
	case current.AverageValue != nil:
		return current.AverageValue.String()
	}
	return "<unknown>"
}

func targetValue(target autoscalingv2.MetricTarget) string {
	switch {
	case target.AverageUtilization != nil:
		return fmt.Sprintf("%d%%", *target.AverageUtilization)
	case target.AverageValue != nil:
		return target.AverageValue.String()
	}
	return "<auto>"
}
