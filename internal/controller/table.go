package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
)

// tableKey is the name in the table's queue under which the whole table is made anew; all others are of Ingresses.
var tableKey = key{Name: "table"}

// reconcileTable brings the gateway's table up to date with one Ingress, or makes it anew of all, and tells each Ingress that it is in
// force.
func (c *Controller) reconcileTable(ctx context.Context, k key) error {
	if k == tableKey {
		return c.makeTable(ctx)
	}
	ing, err := c.listers.ingresses.Ingresses(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) || err == nil && ing.DeletionTimestamp != nil {
		ing = nil
		c.wrote.ingresses.forget(k)
	} else if err != nil {
		return err
	}
	change, ok := c.book.amend(k, ing)
	if !ok {
		return c.makeTable(ctx)
	}
	if err := c.conf.Gateway.Amend(change); err != nil {
		c.tableQueue.add(tableKey)
		return fmt.Errorf("amending the table of routes: %w", err)
	}
	if ing == nil {
		return nil
	}
	return c.markIngress(ctx, ing, "")
}

// makeTable makes the gateway's table of all Ingresses. What is older has its hosts first.
func (c *Controller) makeTable(ctx context.Context) error {
	ingresses, err := c.listers.ingresses.List(labels.Everything())
	if err != nil {
		return err
	}
	ingresses = slices.DeleteFunc(slices.Clone(ingresses), func(i *netv1alpha1.Ingress) bool { return i.DeletionTimestamp != nil })
	slices.SortStableFunc(ingresses, func(a, b *netv1alpha1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	c.book = newTableBook(c)
	for _, mappings := range []bool{false, true} { // mappings point at routes: those are first
		for _, ing := range ingresses {
			if isMapping(ing) == mappings {
				c.book.enter(ing)
			}
		}
	}
	c.hashes.keep(ingresses)
	if err := c.conf.Gateway.Apply(c.book.table()); err != nil {
		return fmt.Errorf("applying the table of routes: %w", err)
	}
	var failed []error
	for _, ing := range ingresses {
		failed = append(failed, c.markIngress(ctx, ing, c.book.entries[nameOf(ing)].trouble))
	}
	return errors.Join(failed...)
}

// gatewayBalancer is how the gateway appears as a load balancer.
func gatewayBalancer() *netv1alpha1.LoadBalancerStatus {
	return &netv1alpha1.LoadBalancerStatus{Ingress: []netv1alpha1.LoadBalancerIngressStatus{{
		DomainInternal: gatewayServiceName + "." + gatewayServiceNamespace + ".svc.cluster.local",
	}}}
}

// inForce tells an Ingress whose status says already what markIngress would write. Nearly all are when one changes.
func inForce(ing *netv1alpha1.Ingress) bool {
	balancer := gatewayBalancer()
	return ing.Status.ObservedGeneration == ing.Generation && ing.Status.GetCondition(netv1alpha1.IngressConditionReady).IsTrue() &&
		equality.Semantic.DeepEqual(ing.Status.PublicLoadBalancer, balancer) && equality.Semantic.DeepEqual(ing.Status.PrivateLoadBalancer, balancer)
}

// markIngress writes that an Ingress is in force, or that a host of it belongs to another.
func (c *Controller) markIngress(ctx context.Context, stored *netv1alpha1.Ingress, taken string) error {
	stored = c.wrote.ingresses.newer(stored)
	if taken == "" && inForce(stored) {
		return nil
	}
	ing := stored.DeepCopy()
	ing.Status.InitializeConditions()
	ing.Status.MarkNetworkConfigured()
	ing.Status.MarkLoadBalancerReady(gatewayBalancer().Ingress, gatewayBalancer().Ingress)
	if taken != "" {
		ing.Status.MarkIngressNotReady("HostTaken", taken)
	}
	ing.Status.ObservedGeneration = ing.Generation
	for i := range ing.Status.Conditions {
		now := &ing.Status.Conditions[i]
		if old := stored.Status.GetCondition(now.Type); old != nil && old.Status == now.Status && old.Reason == now.Reason {
			now.LastTransitionTime = old.LastTransitionTime
		}
	}
	if equality.Semantic.DeepEqual(ing.Status, stored.Status) {
		return nil
	}
	answer, err := c.net.NetworkingV1alpha1().Ingresses(ing.Namespace).UpdateStatus(ctx, ing, metav1.UpdateOptions{})
	if err == nil {
		c.wrote.ingresses.keep(answer)
	}
	return ignoreGone(err)
}
