package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/reconciler/route/resources"
	"knative.dev/serving/pkg/reconciler/route/traffic"
)

// routeServices keeps one core Service for the route and for each of its tags; they hold the names and point to the
// gateway. Labels that were put on such a Service stay on it.
func (c *Controller) routeServices(ctx context.Context, route *v1.Route, targets map[string]traffic.RevisionTargets) error {
	used := make(map[string]bool, len(targets))
	for _, tag := range slices.Sorted(maps.Keys(targets)) {
		want, err := c.desiredService(ctx, route, tag)
		if err != nil {
			return fmt.Errorf("core service of tag %q: %w", tag, err)
		}
		used[want.Name] = true
		if err := c.routeService(ctx, route, want); err != nil {
			return err
		}
	}
	return c.dropServices(ctx, route, used)
}

// desiredService is the core Service that stands for the route or one of its tags.
func (c *Controller) desiredService(ctx context.Context, route *v1.Route, tag string) (*corev1.Service, error) {
	placed := &netv1alpha1.Ingress{}
	placed.Status.PublicLoadBalancer, placed.Status.PrivateLoadBalancer = gatewayBalancer(), gatewayBalancer()
	pair, err := resources.MakeK8sService(ctx, route, tag, placed, true)
	if err != nil {
		return nil, err
	}
	return pair.Service, nil
}

func (c *Controller) routeService(ctx context.Context, route *v1.Route, want *corev1.Service) error {
	client := c.kube.CoreV1().Services(route.Namespace)
	service, err := c.listers.coreServices.Services(route.Namespace).Get(want.Name)
	if apierrs.IsNotFound(err) {
		service, err = client.Create(ctx, want, metav1.CreateOptions{})
		if err == nil {
			c.events.Eventf(route, corev1.EventTypeNormal, "Created", "Created placeholder service %q", want.Name)
			return nil
		}
		if !apierrs.IsAlreadyExists(err) {
			c.events.Eventf(route, corev1.EventTypeWarning, "CreationFailed", "Failed to create placeholder service %q: %v", want.Name, err)
			return fmt.Errorf("creating core service %q: %w", want.Name, err)
		}
		service, err = client.Get(ctx, want.Name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("reading core service %q: %w", want.Name, err)
	}
	if !metav1.IsControlledBy(service, route) {
		route.Status.MarkServiceNotOwned(want.Name)
		return reportedError{fmt.Errorf("route: %q does not own Service: %q", route.Name, want.Name)}
	}
	changed := service.DeepCopy()
	changed.Labels = kmeta.UnionMaps(service.Labels, want.Labels)
	changed.Annotations = kmeta.UnionMaps(service.Annotations, want.Annotations)
	changed.Spec.Type, changed.Spec.ExternalName, changed.Spec.Ports = want.Spec.Type, want.Spec.ExternalName, want.Spec.Ports
	for i := range changed.Spec.Ports {
		if changed.Spec.Ports[i].Protocol == "" {
			changed.Spec.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
	if equality.Semantic.DeepEqual(changed.Spec, service.Spec) && equality.Semantic.DeepEqual(changed.Labels, service.Labels) &&
		equality.Semantic.DeepEqual(changed.Annotations, service.Annotations) {
		return nil
	}
	if _, err := client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating core service %q: %w", want.Name, err)
	}
	return nil
}

// dropServices deletes the Services of tags that are gone.
func (c *Controller) dropServices(ctx context.Context, route *v1.Route, used map[string]bool) error {
	all, err := indexed[*corev1.Service](c.informers.coreServices, byRoute, route.Namespace, route.Name)
	if err != nil {
		return fmt.Errorf("listing core services of route %q: %w", route.Name, err)
	}
	for _, service := range all {
		if used[service.Name] || !metav1.IsControlledBy(service, route) {
			continue
		}
		err := c.kube.CoreV1().Services(service.Namespace).Delete(ctx, service.Name, metav1.DeleteOptions{})
		if ignoreGone(err) != nil {
			return fmt.Errorf("deleting core service %q: %w", service.Name, err)
		}
	}
	return nil
}
