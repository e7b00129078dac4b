// Package autoscale decides how many instances a revision should have: (samples, spec, now) -> desired instances.
//
// The decision for the class kpa is Knative's own algorithm (knative.dev/serving/pkg/autoscaler/scaling) with its stable and panic
// windows; around it stand the bounds, the initial scale and the way to zero, which upstream keeps in reconcilers. The class hpa
// follows the algorithm of the Kubernetes HorizontalPodAutoscaler.
//
// Nothing here reads a clock, starts a goroutine or knows an API object. A [Scaler] belongs to one goroutine, a [Spec] is data.
//
//	spec := autoscale.Resolve(annotations, containerConcurrency, reachable, config)
//	s := autoscale.New(spec, 0, now)
//	s.Record(now, autoscale.Load{Period: time.Second, Concurrency: 12.5, Requests: 140})
//	d := s.Decide(now, autoscale.State{Ready: 1, Initialized: true})
//	// run d.Desired instances; ask again at the next tick, or after d.Again at the latest
package autoscale
