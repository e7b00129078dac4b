package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	configresources "knative.dev/serving/pkg/reconciler/configuration/resources"
)

func (c *Controller) serviceKind() kind[*v1.Service] {
	return kind[*v1.Service]{
		wrote:  c.wrote.services,
		again:  c.serviceQueue,
		copy:   (*v1.Service).DeepCopy,
		status: func(s *v1.Service) any { return &s.Status },
		move:   func(from, onto *v1.Service) { onto.Status = from.Status },
		update: func(ctx context.Context, s *v1.Service) (*v1.Service, error) {
			return c.serving.ServingV1().Services(s.Namespace).UpdateStatus(ctx, s, metav1.UpdateOptions{})
		},
		get: func(ctx context.Context, k key) (*v1.Service, error) {
			return c.serving.ServingV1().Services(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		},
	}
}

func (c *Controller) reconcileService(ctx context.Context, k key) error {
	stored, err := c.listers.services.Services(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		c.wrote.services.forget(k)
		return nil
	} else if err != nil {
		return err
	}
	if stored.DeletionTimestamp != nil {
		return nil
	}
	ctx = c.settings().context(ctx)
	return process(ctx, c, c.serviceKind(), stored, c.makeService)
}

// makeService keeps one Configuration and one Route of the service's name and folds their status into the
// service's own.
func (c *Controller) makeService(ctx context.Context, service *v1.Service) error {
	template := service.Spec.GetTemplate()
	c.tellIsolation(&service.Status.Status, template.Spec.RuntimeClassName, template.Labels)
	config, err := c.serviceConfiguration(ctx, service)
	if err != nil {
		return err
	}
	if config.Generation != config.Status.ObservedGeneration {
		service.Status.MarkConfigurationNotReconciled()
		if config.Spec.GetTemplate().Name != "" {
			return nil // a revision named by the user: the route waits until the name is known to be ours
		}
	} else {
		service.Status.PropagateConfigurationStatus(&config.Status)
	}
	if _, err := c.namedRevision(config); apierrs.IsAlreadyExists(err) {
		service.Status.MarkRevisionNameTaken(config.Spec.GetTemplate().Name)
		return nil
	}
	route, err := c.serviceRoute(ctx, service)
	if err != nil {
		return err
	}
	if route.Generation != route.Status.ObservedGeneration {
		service.Status.MarkRouteNotReconciled()
	} else {
		service.Status.PropagateRouteStatus(&route.Status)
	}
	if rc := service.Status.GetCondition(v1.ServiceConditionRoutesReady); rc.IsTrue() && !trafficArrived(config, route) {
		service.Status.MarkRouteNotYetReady()
	}
	return nil
}

// trafficArrived tells whether the route's status already is what its spec asks for, with the configuration's
// latest ready revision in the place of the configuration.
func trafficArrived(config *v1.Configuration, route *v1.Route) bool {
	return slices.EqualFunc(route.Spec.Traffic, route.Status.Traffic, func(want, got v1.TrafficTarget) bool {
		if want.ConfigurationName == config.Name {
			want.RevisionName, want.ConfigurationName = config.Status.LatestReadyRevisionName, ""
		}
		want.URL, got.URL, want.LatestRevision, got.LatestRevision = nil, nil, nil, nil
		return equality.Semantic.DeepEqual(want, got)
	})
}

func (c *Controller) serviceConfiguration(ctx context.Context, service *v1.Service) (*v1.Configuration, error) {
	client := c.serving.ServingV1().Configurations(service.Namespace)
	config, err := c.listers.configurations.Configurations(service.Namespace).Get(service.Name)
	if apierrs.IsNotFound(err) {
		config, err = client.Create(ctx, desiredConfiguration(service, nil), metav1.CreateOptions{})
		if err == nil {
			c.events.Eventf(service, corev1.EventTypeNormal, "Created", "Created Configuration %q", service.Name)
			return config, nil
		}
		if !apierrs.IsAlreadyExists(err) {
			c.events.Eventf(service, corev1.EventTypeWarning, "CreationFailed", "Failed to create Configuration %q: %v", service.Name, err)
			return nil, fmt.Errorf("creating configuration %q: %w", service.Name, err)
		}
		config, err = client.Get(ctx, service.Name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration %q: %w", service.Name, err)
	}
	if !metav1.IsControlledBy(config, service) {
		service.Status.MarkConfigurationNotOwned(service.Name)
		return nil, reportedError{fmt.Errorf("service: %q does not own configuration: %q", service.Name, config.Name)}
	}
	existing := config.DeepCopy()
	existing.SetDefaults(ctx)
	want := desiredConfiguration(service, existing)
	if equality.Semantic.DeepEqual(want.Spec, existing.Spec) &&
		equality.Semantic.DeepEqual(want.Labels, existing.Labels) &&
		equality.Semantic.DeepEqual(want.Annotations, existing.Annotations) {
		return config, nil
	}
	existing.Spec, existing.Labels, existing.Annotations = want.Spec, want.Labels, want.Annotations
	if config, err = client.Update(ctx, existing, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("updating configuration %q: %w", service.Name, err)
	}
	return config, nil
}

func (c *Controller) serviceRoute(ctx context.Context, service *v1.Service) (*v1.Route, error) {
	client := c.serving.ServingV1().Routes(service.Namespace)
	route, err := c.listers.routes.Routes(service.Namespace).Get(service.Name)
	if apierrs.IsNotFound(err) {
		route, err = client.Create(ctx, desiredRoute(service), metav1.CreateOptions{})
		if err == nil {
			c.events.Eventf(service, corev1.EventTypeNormal, "Created", "Created Route %q", service.Name)
			return route, nil
		}
		if !apierrs.IsAlreadyExists(err) {
			c.events.Eventf(service, corev1.EventTypeWarning, "CreationFailed", "Failed to create Route %q: %v", service.Name, err)
			return nil, fmt.Errorf("creating route %q: %w", service.Name, err)
		}
		route, err = client.Get(ctx, service.Name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("reading route %q: %w", service.Name, err)
	}
	if !metav1.IsControlledBy(route, service) {
		service.Status.MarkRouteNotOwned(service.Name)
		return nil, reportedError{fmt.Errorf("service: %q does not own route: %q", service.Name, route.Name)}
	}
	existing := route.DeepCopy()
	existing.SetDefaults(ctx)
	want := desiredRoute(service)
	if equality.Semantic.DeepEqual(want.Spec, existing.Spec) &&
		equality.Semantic.DeepEqual(want.Labels, existing.Labels) &&
		equality.Semantic.DeepEqual(want.Annotations, existing.Annotations) {
		return route, nil
	}
	existing.Spec, existing.Labels, existing.Annotations = want.Spec, want.Labels, want.Annotations
	if route, err = client.Update(ctx, existing, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("updating route %q: %w", service.Name, err)
	}
	return route, nil
}

// desiredConfiguration is the configuration a service asks for. existing may be nil; the routes that are known to
// use it are kept in its annotation.
func desiredConfiguration(service *v1.Service, existing *v1.Configuration) *v1.Configuration {
	skip := append([]string{corev1.LastAppliedConfigAnnotation}, serving.RolloutDurationAnnotation...)
	annotations := kmeta.FilterMap(service.Annotations, func(k string) bool { return slices.Contains(skip, k) })
	routes := []string{service.Name}
	if existing != nil {
		routes = append(routes, listAnnotation(existing.Annotations, serving.RoutesAnnotationKey)...)
	}
	slices.Sort(routes)
	annotations[serving.RoutesAnnotationKey] = strings.Join(slices.Compact(routes), ",")
	return &v1.Configuration{
		ObjectMeta: metav1.ObjectMeta{
			Name:            service.Name,
			Namespace:       service.Namespace,
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(service)},
			Labels: kmeta.UnionMaps(service.Labels, map[string]string{
				serving.ServiceLabelKey:    service.Name,
				serving.ServiceUIDLabelKey: string(service.UID),
			}),
			Annotations: annotations,
		},
		Spec: *service.Spec.ConfigurationSpec.DeepCopy(),
	}
}

// desiredRoute is the route a service asks for: targets without a revision mean the service's configuration.
func desiredRoute(service *v1.Service) *v1.Route {
	route := &v1.Route{
		ObjectMeta: metav1.ObjectMeta{
			Name:            service.Name,
			Namespace:       service.Namespace,
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(service)},
			Annotations: kmeta.FilterMap(service.Annotations, func(k string) bool {
				return k == corev1.LastAppliedConfigAnnotation
			}),
			Labels: kmeta.UnionMaps(service.Labels, map[string]string{serving.ServiceLabelKey: service.Name}),
		},
		Spec: *service.Spec.RouteSpec.DeepCopy(),
	}
	for i := range route.Spec.Traffic {
		if route.Spec.Traffic[i].RevisionName == "" {
			route.Spec.Traffic[i].ConfigurationName = service.Name
		}
	}
	return route
}

// namedRevision gives the revision that the configuration names itself: nil where it names none, NotFound where
// the name is free, AlreadyExists where the name stands for something else.
func (c *Controller) namedRevision(config *v1.Configuration) (*v1.Revision, error) {
	name := config.Spec.GetTemplate().Name
	if name == "" {
		return nil, nil
	}
	rev, err := c.listers.revisions.Revisions(config.Namespace).Get(name)
	if err != nil {
		return nil, err
	}
	taken := apierrs.NewAlreadyExists(v1.Resource("revisions"), name)
	if !metav1.IsControlledBy(rev, config) {
		return nil, taken
	}
	generation := configresources.RevisionLabelValueForKey(serving.ConfigurationGenerationLabelKey, config)
	if rev.Labels[serving.ConfigurationGenerationLabelKey] == generation {
		return rev, nil
	}
	if !equality.Semantic.DeepEqual(config.Spec.GetTemplate().Spec, rev.Spec) {
		return nil, taken
	}
	return rev, nil
}

// listAnnotation reads an annotation that holds names with commas between them.
func listAnnotation(annotations map[string]string, name string) []string {
	if annotations[name] == "" {
		return nil
	}
	return strings.Split(annotations[name], ",")
}
