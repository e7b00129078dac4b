package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func name(i int) string { return fmt.Sprintf("hello-%05d", i) }

// service is a Go hello; an unproved one is never started before it is asked.
func (h *host) service(i int, proved bool) *servingv1.Service {
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}
	service.Spec.Template.Spec.Containers = []corev1.Container{{Image: h.image}}
	if !proved {
		service.Spec.Template.Annotations = map[string]string{autoscaling.InitialScaleAnnotationKey: "0"}
	}
	return service
}

// deploy defines services one after the other and gives the time from apply to Ready of each.
func (h *host) deploy(ctx context.Context, services int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range services {
		begin := time.Now()
		changes, err := h.Serving.ServingV1().Services("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name(i)})
		if err != nil {
			return nil, err
		}
		if _, err := h.Serving.ServingV1().Services("default").Create(ctx, h.service(i, true), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		err = whenReady(ctx, changes)
		changes.Stop()
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

func whenReady(ctx context.Context, changes watch.Interface) error {
	for event := range changes.ResultChan() {
		if s, ok := event.Object.(*servingv1.Service); ok && s.IsReady() {
			return nil
		}
	}
	return errors.Join(context.Cause(ctx), errors.New("the watch ended before the service was ready"))
}

// define makes services from one number to another that are not proved by an instance, by many clients at once, and waits until all
// are Ready. It gives the time of the creations, and when each service was ready, in that order.
func (h *host) define(ctx context.Context, from, to int) (created time.Duration, ready []time.Duration, err error) {
	profiled := h.profile(ctx, fmt.Sprintf("define-%d.cpu", to))
	begin := time.Now()
	numbers := make(chan int, to-from)
	for i := from; i < to; i++ {
		numbers <- i
	}
	close(numbers)
	changes, err := h.Serving.ServingV1().Services("default").Watch(ctx, metav1.ListOptions{}) // begins with what is there
	if err != nil {
		return 0, nil, err
	}
	defer changes.Stop()
	errs := make([]error, definers)
	var group sync.WaitGroup
	for n := range errs {
		group.Go(func() {
			for i := range numbers {
				if _, err := h.Serving.ServingV1().Services("default").Create(ctx, h.service(i, false), metav1.CreateOptions{}); err != nil {
					errs[n] = err
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		created = time.Since(begin)
		close(done)
	}()
	// A list of all of them every second would be a good part of what is measured.
	for seen := map[string]bool{}; len(seen) < to; {
		event, open := <-changes.ResultChan()
		s, ok := event.Object.(*servingv1.Service)
		switch {
		case !open || !ok:
			<-done
			return 0, nil, errors.Join(append(errs, context.Cause(ctx), errors.New("the watch ended before all services were ready"))...)
		case s.IsReady() && !seen[s.Name]:
			seen[s.Name] = true
			if len(seen) > from {
				ready = append(ready, time.Since(begin))
			}
		}
	}
	<-done
	return created, ready, errors.Join(append(errs, <-profiled)...)
}

// definers is how many clients define services at the same time.
const definers = 16

// allAtZero waits until no instance is shown any more, and the revisions say so.
func (h *host) allAtZero(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods, err := h.Kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, err
	})
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 3*time.Second, true, func(ctx context.Context) (bool, error) {
		revisions, err := h.Serving.ServingV1().Revisions("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		awake := slices.ContainsFunc(revisions.Items, func(r servingv1.Revision) bool {
			return r.Status.ActualReplicas == nil || *r.Status.ActualReplicas != 0
		})
		return !awake, nil
	})
}
