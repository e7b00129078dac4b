package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// mark is one measurement with the limit that its public counterpart has.
type mark struct {
	what        string
	name        string        // of the service
	limit       time.Duration // of the 95th percentile
	concurrency int64         // of one instance; 0 is any
	scale       int           // instances at least; 0 goes to zero before the load begins
	stages      []stage
	rollouts    int // new revisions during the load, evenly spread
}

func marks(s setup) []mark {
	steady := []stage{{s.rate, s.duration}}
	least := max(2, s.rate/50) // half as many again as work at the same time, 10 in each instance
	return []mark{
		{what: fmt.Sprintf("steady, %d/s", s.rate), name: "steady", limit: 110 * time.Millisecond, scale: 1, stages: steady},
		{what: fmt.Sprintf("steady, %d/s, 10 at the same time in an instance", s.rate), name: "steady-10", limit: 110 * time.Millisecond, concurrency: 10, scale: least, stages: steady},
		{what: fmt.Sprintf("from zero, %d, %d, %d/s", s.rate, 2*s.rate, 3*s.rate), name: "grown", limit: 115 * time.Millisecond,
			stages: []stage{{s.rate, s.duration}, {2 * s.rate, s.duration}, {3 * s.rate, s.duration}}},
		{what: fmt.Sprintf("steady, %d/s, with two rollouts", s.rate), name: "rolled", limit: 110 * time.Millisecond, scale: 1, stages: steady, rollouts: 2},
	}
}

// run defines the service of a mark, loads it, and tells also how many instances there were in the end.
func (h *host) run(ctx context.Context, m mark) (result, int32, error) {
	services := h.Serving.ServingV1().Services("default")
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: m.name}}
	service.Spec.Template.Annotations = map[string]string{autoscaling.MinScaleAnnotationKey: strconv.Itoa(m.scale)}
	if m.scale == 0 {
		service.Spec.Template.Annotations[autoscaling.WindowAnnotationKey] = "6s"
	}
	service.Spec.Template.Spec.Containers = []corev1.Container{{Image: h.image}}
	service.Spec.Template.Spec.ContainerConcurrency = ptr.Int64(m.concurrency)
	service, err := services.Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return result{}, 0, err
	}
	if err := h.settled(ctx, m, service.Generation); err != nil {
		return result{}, 0, err
	}
	loading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rolled := make(chan error, 1)
	go func() {
		err := h.rollOut(loading, m)
		if err != nil {
			cancel(err)
		}
		rolled <- err
	}()
	r, err := load(loading, h.client, "http://"+m.name+".default."+h.Info.Domain, m.stages)
	if rollErr := <-rolled; rollErr != nil {
		return result{}, 0, fmt.Errorf("rolling out: %w", rollErr)
	} else if err != nil {
		return result{}, 0, err
	}
	instances, err := h.instances(ctx, m)
	if err != nil {
		return result{}, 0, err
	}
	return r, instances, services.Delete(ctx, m.name, metav1.DeleteOptions{})
}

// rollOut makes new revisions while the load goes on.
func (h *host) rollOut(ctx context.Context, m mark) error {
	var whole time.Duration
	for _, s := range m.stages {
		whole += s.duration
	}
	for i := range m.rollouts {
		select {
		case <-time.After(whole / time.Duration(m.rollouts+1)):
		case <-ctx.Done():
			return nil
		}
		patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"example.com/rollout":"%d"}}}}}`, i)
		s, err := h.Serving.ServingV1().Services("default").Patch(ctx, m.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			return err
		}
		if err := h.settled(ctx, m, s.Generation); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until the service is Ready and has the instances that it begins with.
func (h *host) settled(ctx context.Context, m mark, generation int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("%s is not Ready with %d instances within two minutes", m.name, m.scale))
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		s, err := h.Serving.ServingV1().Services("default").Get(ctx, m.name, metav1.GetOptions{})
		if err != nil || s.Status.ObservedGeneration < generation || !s.IsReady() {
			return false, err
		}
		n, err := h.instances(ctx, m)
		return (n == 0) == (m.scale == 0) && int(n) >= m.scale, err
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// instances is how many the latest ready revision has.
func (h *host) instances(ctx context.Context, m mark) (int32, error) {
	s, err := h.Serving.ServingV1().Services("default").Get(ctx, m.name, metav1.GetOptions{})
	if err != nil || s.Status.LatestReadyRevisionName == "" {
		return 0, err
	}
	revision, err := h.Serving.ServingV1().Revisions("default").Get(ctx, s.Status.LatestReadyRevisionName, metav1.GetOptions{})
	if err != nil || revision.Status.ActualReplicas == nil {
		return 0, err
	}
	return *revision.Status.ActualReplicas, nil
}
