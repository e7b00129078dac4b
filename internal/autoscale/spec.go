package autoscale

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	upstream "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/scaling"
	deciders "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

// Config is what config-autoscaler says.
type Config = autoscalerconfig.Config

// ParseConfig reads the data of the ConfigMap config-autoscaler; empty data gives Knative's defaults.
func ParseConfig(data map[string]string) (*Config, error) {
	c, err := upstream.NewConfigFromMap(data)
	if err != nil {
		return nil, fmt.Errorf("config-autoscaler: %w", err)
	}
	return c, nil
}

// Class is who decides.
type Class string

// The classes. Any other class is somebody else's to scale.
const (
	KPA Class = autoscaling.KPA
	HPA Class = autoscaling.HPA
)

// Spec is how a revision is to be scaled: its annotations over the configuration.
type Spec struct {
	Class Class
	// Metric is concurrency, rps, cpu or memory.
	Metric string
	// Target is the value of the metric per instance to aim for (utilization applied), Total what an instance can bear. For cpu
	// it is percent of the request, for memory MiB.
	Target, Total float64
	// Min and Max bound the number of instances; Max 0 is unbounded. Min is 0 for a revision that no route reaches.
	Min, Max int32
	// Initial is how many a new revision starts with, until it has had them once.
	Initial int32
	// Activation is the least number other than zero, if greater than 1.
	Activation int32
	// StableWindow and PanicWindow are averaged over; StableWindow is also the least time before an idle revision goes to zero.
	StableWindow, PanicWindow time.Duration
	// Retention keeps the last instance for this long after the revision could be at zero.
	Retention time.Duration
	// ToZero allows zero instances.
	ToZero bool
	// Reachable says that a route sends traffic here.
	Reachable bool

	decider  scaling.DeciderSpec
	weighted bool
}

// ScaleDownDelay is for how long a lower number must be wanted before it is decided.
func (s Spec) ScaleDownDelay() time.Duration { return s.decider.ScaleDownDelay }

// TargetBurstCapacity is how many requests more than now must find a free slot; -1 is unlimited.
func (s Spec) TargetBurstCapacity() float64 { return s.decider.TargetBurstCapacity }

// Resolve gives the spec of a revision: its annotations, where given and readable, over the configuration. Annotations were validated when
// the revision was admitted, so that what cannot be read counts as not given. Concurrency is containerConcurrency, 0 for no limit.
func Resolve(annotations map[string]string, concurrency int64, reachable bool, c *Config) Spec {
	pa := &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec:       autoscalingv1alpha1.PodAutoscalerSpec{ContainerConcurrency: concurrency, Reachability: autoscalingv1alpha1.ReachabilityReachable},
	}
	if !reachable {
		pa.Spec.Reachability = autoscalingv1alpha1.ReachabilityUnreachable
	}
	d := deciders.MakeDecider(pa, c)
	metric := resources.MakeMetric(pa, "", c)
	s := Spec{
		Class:        Class(pa.Class()),
		Metric:       pa.Metric(),
		Target:       d.Spec.TargetValue,
		Total:        d.Spec.TotalValue,
		Initial:      d.Spec.InitialScale,
		Activation:   d.Spec.ActivationScale,
		StableWindow: d.Spec.StableWindow,
		PanicWindow:  metric.Spec.PanicWindow,
		ToZero:       c.EnableScaleToZero,
		Reachable:    reachable,
		decider:      d.Spec,
		weighted:     metric.AggregationAlgorithm() == autoscaling.MetricAggregationAlgorithmWeightedExponential,
	}
	s.Min, s.Max = pa.ScaleBounds(c)
	if reachable {
		s.Retention = c.ScaleToZeroPodRetentionPeriod
		if r, ok := pa.ScaleToZeroPodRetention(); ok {
			s.Retention = r
		}
	}
	if s.Class == HPA {
		s.resolveHPA(pa)
	}
	return s
}

// resolveHPA fills in what the class hpa understands differently: no zero, and the target as it was written.
func (s *Spec) resolveHPA(pa *autoscalingv1alpha1.PodAutoscaler) {
	s.Min = max(s.Min, 1)
	s.ToZero = false
	s.Target = defaultCPUPercent
	if t, ok := pa.Target(); ok {
		s.Target = t
	}
	s.Total = s.Target
	s.StableWindow = 0
	if w, ok := pa.Window(); ok {
		s.StableWindow = w
	}
}
