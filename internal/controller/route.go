package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/reconciler/route/domains"
	"knative.dev/serving/pkg/reconciler/route/resources"
	"knative.dev/serving/pkg/reconciler/route/resources/labels"
	"knative.dev/serving/pkg/reconciler/route/resources/names"
	"knative.dev/serving/pkg/reconciler/route/traffic"
	"knative.dev/serving/pkg/reconciler/route/visibility"
)

func (c *Controller) routeKind() kind[*v1.Route] {
	return kind[*v1.Route]{
		wrote:  c.wrote.routes,
		again:  c.routeQueue,
		copy:   (*v1.Route).DeepCopy,
		status: func(o *v1.Route) any { return &o.Status },
		move:   func(from, onto *v1.Route) { onto.Status = from.Status },
		update: func(ctx context.Context, o *v1.Route) (*v1.Route, error) {
			return c.serving.ServingV1().Routes(o.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
		},
		get: func(ctx context.Context, k key) (*v1.Route, error) {
			return c.serving.ServingV1().Routes(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		},
	}
}

func (c *Controller) reconcileRoute(ctx context.Context, k key) error {
	stored, err := c.listers.routes.Routes(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		c.wrote.routes.forget(k)
		return c.unlabelRoute(ctx, k)
	} else if err != nil {
		return err
	}
	if stored.DeletionTimestamp != nil {
		return nil
	}
	ctx = c.settings().context(ctx)
	if err := process(ctx, c, c.routeKind(), stored, c.makeRoute); err != nil {
		return err
	}
	return c.labelRoute(ctx, stored)
}

// makeRoute turns the traffic block into core Services, an Ingress (which the table is made of) and the status.
func (c *Controller) makeRoute(ctx context.Context, route *v1.Route) error {
	if route.Generation != route.Status.ObservedGeneration {
		route.Status.MarkIngressNotConfigured() // never Ready by what was true of an older generation
	}
	config, err := c.assignTraffic(ctx, route)
	if config == nil || err != nil {
		switch {
		case errors.Is(err, domains.ErrDomainName):
			route.Status.MarkRevisionTargetTrafficError("ErrorConfig", err.Error())
		case err != nil:
			route.Status.MarkUnknownTrafficError(err.Error())
		}
		return err
	}
	route.Status.Address = &duckv1.Addressable{URL: &apis.URL{Scheme: "http", Host: names.K8sServiceFullname(route)}}
	if err := c.routeServices(ctx, route, config.Targets); err != nil {
		return err
	}
	if err := c.routeTLS(ctx, route, config); err != nil {
		return err
	}
	ingress, rollout, err := c.routeIngress(ctx, route, config)
	if err != nil {
		return err
	}
	inProgress := !rollout.Done()
	if ingress.Generation != ingress.Status.ObservedGeneration {
		route.Status.MarkIngressNotConfigured()
	} else if !inProgress {
		route.Status.PropagateIngressStatus(ingress.Status)
	}
	if !inProgress {
		return nil
	}
	route.Status.MarkIngressRolloutInProgress()
	route.Status.Traffic, err = config.GetRevisionTrafficTargets(ctx, route, rollout)
	return err
}

// assignTraffic resolves the traffic block to revisions. It gives nil without an error where a target is not ready;
// the status says which.
func (c *Controller) assignTraffic(ctx context.Context, route *v1.Route) (*traffic.Config, error) {
	config, trafficErr := traffic.BuildTrafficConfiguration(targetConfigurations{c.listers.configurations, c.serving, ctx},
		targetRevisions{c.listers.revisions, c.serving, ctx}, route)
	if config == nil {
		return nil, trafficErr
	}
	seen, err := visibility.NewResolver(routeServiceLister{c.listers.coreServices, c.informers.coreServices}).GetVisibility(ctx, route)
	if err != nil {
		return nil, err
	}
	config.Visibility = seen
	if err := setRouteURL(ctx, c.settings(), route, seen[traffic.DefaultTarget]); err != nil {
		return nil, err
	}
	var bad traffic.TargetError
	if errors.As(trafficErr, &bad) {
		bad.MarkBadTrafficTarget(&route.Status)
		return nil, nil
	}
	if trafficErr != nil {
		return nil, trafficErr
	}
	route.Status.Traffic, err = config.GetRevisionTrafficTargets(ctx, route, &traffic.Rollout{})
	if err != nil {
		return nil, err
	}
	route.Status.MarkTrafficAssigned()
	return config, nil
}

func setRouteURL(ctx context.Context, s *settings, route *v1.Route, seen netv1alpha1.IngressVisibility) error {
	local := seen == netv1alpha1.IngressVisibilityClusterLocal
	meta := route.ObjectMeta.DeepCopy()
	labels.SetVisibility(meta, local)
	host, err := domains.DomainNameFromTemplate(ctx, *meta, route.Name)
	if err != nil {
		return err
	}
	scheme := "http"
	if !local {
		scheme = s.network.DefaultExternalScheme
	}
	route.Status.URL = &apis.URL{Scheme: scheme, Host: host}
	return nil
}

// routeTLS says whether the route is reached by https. The gateway makes certificates when a host is first asked
// for, so there is nothing to wait for.
func (c *Controller) routeTLS(ctx context.Context, route *v1.Route, config *traffic.Config) error {
	if !c.settings().network.ExternalDomainTLS || tlsTurnedOff(route.Annotations) {
		route.Status.MarkTLSNotEnabled(v1.ExternalDomainTLSNotEnabledMessage)
		return nil
	}
	tags := make([]string, 0, len(config.Targets))
	for tag := range config.Targets {
		tags = append(tags, tag)
	}
	hosts, err := domains.GetAllDomainsAndTags(ctx, route, tags, config.Visibility)
	if err != nil {
		return err
	}
	public := false
	for host := range hosts {
		if domains.IsClusterLocal(host) {
			continue
		}
		public = true
		if route.Status.URL.Host == host {
			route.Status.URL.Scheme = "https"
		}
		for i := range route.Status.Traffic {
			if u := route.Status.Traffic[i].URL; u != nil && u.Host == host {
				u.Scheme = "https"
			}
		}
	}
	if !public {
		route.Status.MarkTLSNotEnabled(v1.TLSNotEnabledForClusterLocalMessage)
		return nil
	}
	route.Status.MarkCertificateReady(names.Certificate(route))
	return nil
}

func tlsTurnedOff(annotations map[string]string) bool {
	off, err := strconv.ParseBool(networking.GetDisableExternalDomainTLS(annotations))
	return err == nil && off
}

// routeIngress keeps the route's Ingress and gives the rollout it is made of.
func (c *Controller) routeIngress(ctx context.Context, route *v1.Route, config *traffic.Config) (*netv1alpha1.Ingress, *traffic.Rollout, error) {
	client := c.net.NetworkingV1alpha1().Ingresses(route.Namespace)
	name := names.Ingress(route)
	class := networking.GetIngressClass(route.Annotations)
	if class == "" {
		class = c.settings().network.DefaultIngressClass
	}
	ingress, err := c.listers.ingresses.Ingresses(route.Namespace).Get(name)
	if apierrs.IsNotFound(err) {
		want, err := resources.MakeIngress(ctx, route, config, nil, class)
		if err != nil {
			return nil, nil, err
		}
		ingress, err = client.Create(ctx, want, metav1.CreateOptions{})
		if err == nil {
			c.events.Eventf(route, corev1.EventTypeNormal, "Created", "Created Ingress %q", name)
			return ingress, config.BuildRollout(), nil
		}
		if !apierrs.IsAlreadyExists(err) {
			c.events.Eventf(route, corev1.EventTypeWarning, "CreationFailed", "Failed to create Ingress: %v", err)
		} else if there, getErr := client.Get(ctx, name, metav1.GetOptions{}); getErr == nil {
			ingress, err = there, nil
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading ingress %q: %w", name, err)
	}
	rollout := c.stepRollout(ctx, route, config, ingress)
	want, err := resources.MakeIngressWithRollout(ctx, route, config, rollout, nil, class)
	if err != nil {
		return nil, nil, err
	}
	if equality.Semantic.DeepEqual(ingress.Spec, want.Spec) && equality.Semantic.DeepEqual(ingress.Labels, want.Labels) &&
		equality.Semantic.DeepEqual(ingress.Annotations, want.Annotations) {
		return ingress, rollout, nil
	}
	changed := ingress.DeepCopy()
	changed.Spec, changed.Labels, changed.Annotations = want.Spec, want.Labels, want.Annotations
	if ingress, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return nil, nil, fmt.Errorf("updating ingress %q: %w", name, err)
	}
	return ingress, rollout, nil
}

// stepRollout moves a gradual rollout on and asks to be called again for its next step.
func (c *Controller) stepRollout(ctx context.Context, route *v1.Route, config *traffic.Config, ingress *netv1alpha1.Ingress) *traffic.Rollout {
	target := config.BuildRollout()
	seconds := int(route.RolloutDuration().Seconds())
	if seconds == 0 {
		seconds = c.settings().network.RolloutDurationSecs
	}
	if seconds <= 0 {
		return target
	}
	now := c.now().UnixNano()
	previous := readRollout(ingress.Annotations[networking.RolloutAnnotationKey])
	wasReady := route.Status.GetCondition(v1.RouteConditionIngressReady).IsTrue()
	if previous != nil && ingress.IsReady() && !wasReady {
		previous.ObserveReady(ctx, now, float64(seconds))
	}
	effective, next := target.Step(ctx, previous, now)
	if next > 0 {
		c.routeQueue.addAfter(key{Namespace: route.Namespace, Name: route.Name}, time.Duration(next-now))
	}
	return effective
}

// readRollout reads the state of a rollout from the Ingress; what cannot be read starts anew.
func readRollout(text string) *traffic.Rollout {
	rollout := &traffic.Rollout{}
	if text == "" || json.Unmarshal([]byte(text), rollout) != nil || !rollout.Validate() {
		return nil
	}
	return rollout
}
