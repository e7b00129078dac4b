package main

import (
	"context"
	"errors"
	"fmt"

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

// waitReady watches a service until the generation given is Ready, or not ready for good. seen is called with each
// change, for progress.
func (c *client) waitReady(ctx context.Context, namespace, name string, generation int64, seen func(*servingv1.Service)) (*servingv1.Service, error) {
	for {
		service, err := c.watchReady(ctx, namespace, name, generation, seen)
		if service != nil || err != nil && !errors.Is(err, errWatchEnded) {
			return service, err
		}
	}
}

// errWatchEnded says that the server closed the watch, as it does now and then: watch again.
var errWatchEnded = errors.New("the watch has ended")

func (c *client) watchReady(ctx context.Context, namespace, name string, generation int64, seen func(*servingv1.Service)) (*servingv1.Service, error) {
	services := c.serving.ServingV1().Services(namespace)
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	list, err := services.List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("wait for service %s: %w", name, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("wait for service %s: it was deleted", name)
	}
	if done, err := readiness(&list.Items[0], generation, seen); done || err != nil {
		return &list.Items[0], err
	}
	changes, err := services.Watch(ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("wait for service %s: %w", name, err)
	}
	defer changes.Stop()
	for event := range changes.ResultChan() {
		switch event.Type {
		case watch.Deleted:
			return nil, fmt.Errorf("wait for service %s: it was deleted", name)
		case watch.Error:
			return nil, fmt.Errorf("wait for service %s: %w", name, apierrors.FromObject(event.Object))
		}
		service, isService := event.Object.(*servingv1.Service)
		if !isService {
			continue
		}
		if done, err := readiness(service, generation, seen); done || err != nil {
			return service, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, errWatchEnded
}

// readiness tells whether a service is ready, or gives notReady when it is not for good.
func readiness(service *servingv1.Service, generation int64, seen func(*servingv1.Service)) (bool, error) {
	seen(service)
	if service.Status.ObservedGeneration < generation {
		return false, nil
	}
	ready := service.Status.GetCondition(apis.ConditionReady)
	if ready == nil {
		return false, nil
	}
	switch ready.Status {
	case corev1.ConditionTrue:
		return true, nil
	case corev1.ConditionFalse:
		return false, notReady{service: service.Name, condition: ready}
	}
	return false, nil
}
