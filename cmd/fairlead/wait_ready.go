package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// notReady is a service that will not become ready as it is.
type notReady struct {
	service   string
	condition *apis.Condition
}

func (e notReady) Error() string {
	text := fmt.Sprintf("service %s is not ready: %s: %s", e.service, e.condition.Reason, e.condition.Message)
	if e.condition.Reason == "" {
		text = fmt.Sprintf("service %s is not ready: %s", e.service, e.condition.Message)
	}
	return text
}

// Try says where to look.
func (e notReady) Try() string {
	return fmt.Sprintf("fairlead describe ksvc %s", e.service)
}

// readiness is what waitReady waits for.
type readiness struct {
	namespace, name string
	generation      int64
	// traffic asks for no more than that the split is in force: a revision that fails has no part in it.
	traffic bool
	// seen is called with each change, and now and then without one, for progress.
	seen func(*servingv1.Service)
}

// waitReady watches a service until the generation given is Ready, or not ready for good.
func (c *client) waitReady(ctx context.Context, r readiness) (*servingv1.Service, error) {
	for {
		service, err := c.watchReady(ctx, r)
		if service != nil || err != nil && !errors.Is(err, errWatchEnded) {
			return service, err
		}
	}
}

// errWatchEnded says that the server closed the watch, as it does now and then: watch again.
var errWatchEnded = errors.New("the watch has ended")

func (c *client) watchReady(ctx context.Context, r readiness) (*servingv1.Service, error) {
	name, services := r.name, c.serving.ServingV1().Services(r.namespace)
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	list, err := services.List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("wait for service %s: %w", name, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("wait for service %s: it was deleted", name)
	}
	doubt := &doubt{}
	defer doubt.clear()
	if doubt.ready(&list.Items[0], r) {
		return &list.Items[0], nil
	}
	changes, err := services.Watch(ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("wait for service %s: %w", name, err)
	}
	defer changes.Stop()
	tick := time.NewTicker(lookAgain / 2)
	defer tick.Stop()
	last := &list.Items[0]
	for {
		select {
		case <-tick.C:
			r.seen(last)
		case <-doubt.over():
			return nil, *doubt.failed
		case event, open := <-changes.ResultChan():
			if !open {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				return nil, errWatchEnded
			}
			switch event.Type {
			case watch.Deleted:
				return nil, fmt.Errorf("wait for service %s: it was deleted", name)
			case watch.Error:
				return nil, fmt.Errorf("wait for service %s: %w", name, apierrors.FromObject(event.Object))
			}
			if service, is := event.Object.(*servingv1.Service); is {
				last = service
				if doubt.ready(service, r) {
					return service, nil
				}
			}
		}
	}
}

// doubtTime is how long a service has to stay not ready to be believed: a new generation begins with the Route's verdict on
// the one before, until the Route was looked at again.
const doubtTime = time.Second

// doubt is a service that is not ready but may only seem so.
type doubt struct {
	failed *notReady
	timer  *time.Timer
}

func (d *doubt) clear() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.failed, d.timer = nil, nil
}

// over is told when there is no doubt left that the service failed.
func (d *doubt) over() <-chan time.Time {
	if d.timer == nil {
		return nil
	}
	return d.timer.C
}

// ready tells whether a service is ready, and begins to doubt it where it is not.
func (d *doubt) ready(service *servingv1.Service, r readiness) bool {
	r.seen(service)
	ready := service.Status.GetCondition(apis.ConditionReady)
	configured := service.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)
	if r.traffic {
		ready, configured = service.Status.GetCondition(servingv1.ServiceConditionRoutesReady), nil
	}
	switch {
	case service.Status.ObservedGeneration < r.generation || ready == nil || ready.Status == corev1.ConditionUnknown,
		ready.Status == corev1.ConditionFalse && configured.IsUnknown() && !r.traffic:
		d.clear()
	case ready.Status == corev1.ConditionTrue:
		return true
	default:
		if d.timer == nil {
			d.timer = time.NewTimer(doubtTime)
		}
		if configured.IsFalse() {
			ready = configured // says why no revision is ready; the Route would only say that none is
		}
		d.failed = &notReady{service: service.Name, condition: ready}
	}
	return false
}
