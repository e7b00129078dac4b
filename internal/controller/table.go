package controller

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// tableKey is the only name in the table's queue: the table is always made whole.
var tableKey = key{Name: "table"}

// reconcileTable makes the gateway's table of all Ingresses and tells each Ingress that it is in force.
func (c *Controller) reconcileTable(ctx context.Context, _ key) error {
	ingresses, err := c.listers.ingresses.List(labels.Everything())
	if err != nil {
		return err
	}
	ingresses = slices.DeleteFunc(slices.Clone(ingresses), func(i *netv1alpha1.Ingress) bool { return i.DeletionTimestamp != nil })
	slices.SortStableFunc(ingresses, func(a, b *netv1alpha1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	t := c.makeTable(ingresses)
	c.hashes.keep(ingresses)
	if err := c.conf.Gateway.Apply(t.table); err != nil {
		return fmt.Errorf("applying the table of routes: %w", err)
	}
	var failed []error
	for _, ing := range ingresses {
		if t.taken[ing.UID] == "" && inForce(ing) {
			continue
		}
		failed = append(failed, c.markIngress(ctx, ing, t.taken[ing.UID]))
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
	_, err := c.net.NetworkingV1alpha1().Ingresses(ing.Namespace).UpdateStatus(ctx, ing, metav1.UpdateOptions{})
	return ignoreGone(err)
}

// tableMaker collects a table. Its maps keep hosts and backends from being named twice.
type tableMaker struct {
	c        *Controller
	table    gateway.Table
	owner    map[string]string        // host to the ingress that has it
	inside   map[string]gateway.Route // the routes that domain mappings may point at, by host
	backends map[string]bool
	taken    map[any]string // UID of an Ingress to what is wrong with it
}

func (c *Controller) makeTable(ingresses []*netv1alpha1.Ingress) *tableMaker {
	m := &tableMaker{c: c, owner: map[string]string{}, inside: map[string]gateway.Route{}, backends: map[string]bool{}, taken: map[any]string{}}
	o := c.settings().observability
	if o.EnableRequestLog {
		m.table.RequestLog, m.table.RequestLogProbes = o.RequestLogTemplate, o.EnableProbeRequestLog
	}
	for _, mappings := range []bool{false, true} { // mappings point at routes: those are first
		for _, ing := range ingresses {
			if _, mapping := ing.Labels[serving.DomainMappingUIDLabelKey]; mapping == mappings {
				m.add(ing, mapping)
			}
		}
	}
	return m
}

func (m *tableMaker) add(ing *netv1alpha1.Ingress, mapping bool) {
	hash := m.c.hashes.of(ing)
	for i := range ing.Spec.Rules {
		in := &ing.Spec.Rules[i]
		route := gateway.Route{
			Name:      fmt.Sprintf("%s/%s#%d", ing.Namespace, ing.Name, i),
			Hosts:     m.claim(ing, in.Hosts),
			AllowFrom: splitList(ing.Annotations[allowFromAnnotation]),
			Notice:    ing.Annotations[noticeAnnotation],
			Hash:      hash,
		}
		if in.Visibility == netv1alpha1.IngressVisibilityClusterLocal {
			route.Visibility = gateway.ClusterLocal
		} else if ing.Spec.HTTPOption == netv1alpha1.HTTPOptionRedirected {
			route.Redirect = gateway.RedirectToHTTPS
		}
		if in.HTTP == nil || len(route.Hosts) == 0 {
			continue
		}
		for j := range in.HTTP.Paths {
			route.Rules = append(route.Rules, m.rules(&in.HTTP.Paths[j], ing.Namespace, mapping)...)
			if mapping {
				route.Notice = cmp.Or(route.Notice, m.inside[in.HTTP.Paths[j].RewriteHost].Notice)
			}
		}
		if len(route.Rules) == 0 {
			continue
		}
		if route.Visibility == gateway.ClusterLocal {
			for _, host := range route.Hosts {
				m.inside[host] = route
			}
		}
		m.table.Routes = append(m.table.Routes, route)
	}
	for _, t := range ing.Spec.TLS {
		m.addCertificate(ing, t)
	}
}

// claim gives the hosts nobody older has.
func (m *tableMaker) claim(ing *netv1alpha1.Ingress, hosts []string) []string {
	var free []string
	for _, host := range hosts {
		host = strings.ToLower(host)
		if owner, taken := m.owner[host]; taken {
			m.taken[ing.UID] = fmt.Sprintf("host %s belongs to ingress %s", host, owner)
			continue
		}
		m.owner[host] = ing.Namespace + "/" + ing.Name
		free = append(free, host)
	}
	return free
}

func (m *tableMaker) rules(path *netv1alpha1.HTTPIngressPath, namespace string, mapping bool) []gateway.Rule {
	rule := gateway.Rule{Path: path.Path, RewriteHost: path.RewriteHost, SetHeaders: path.AppendHeaders}
	for name, match := range path.Headers {
		if rule.Headers == nil {
			rule.Headers = make(map[string]string, len(path.Headers))
		}
		rule.Headers[name] = match.Exact
	}
	if mapping {
		return m.mappedRules(rule, path)
	}
	for _, split := range path.Splits {
		rev, err := m.c.listers.revisions.Revisions(split.ServiceNamespace).Get(split.ServiceName)
		if err != nil {
			continue // deleted by hand; the route tells
		}
		m.addBackend(rev)
		rule.Splits = append(rule.Splits, gateway.Split{
			Backend:    backendName(rev.Namespace, rev.Name),
			Weight:     split.Percent,
			SetHeaders: split.AppendHeaders,
		})
	}
	if len(rule.Splits) == 0 {
		return nil
	}
	return []gateway.Rule{rule}
}

// mappedRules are the rules of the route a domain mapping points at, with the host written anew. The route's policy goes with them:
// a mapping may narrow it, but is no way around it.
func (m *tableMaker) mappedRules(rule gateway.Rule, path *netv1alpha1.HTTPIngressPath) []gateway.Rule {
	var rules []gateway.Rule
	to := m.inside[path.RewriteHost]
	for _, target := range to.Rules {
		target.RewriteHost, target.AllowFrom = path.RewriteHost, to.AllowFrom
		target.SetHeaders = kmeta.UnionMaps(target.SetHeaders, rule.SetHeaders)
		for _, split := range path.Splits {
			target.SetHeaders = kmeta.UnionMaps(target.SetHeaders, split.AppendHeaders)
		}
		rules = append(rules, target)
	}
	return rules
}

func (m *tableMaker) addBackend(rev *v1.Revision) {
	name := backendName(rev.Namespace, rev.Name)
	if m.backends[name] {
		return
	}
	m.backends[name] = true
	m.table.Backends = append(m.table.Backends, makeBackend(rev))
}

// addCertificate takes a certificate the user gave in a Secret.
func (m *tableMaker) addCertificate(ing *netv1alpha1.Ingress, t netv1alpha1.IngressTLS) {
	secret, err := m.c.listers.secrets.Secrets(t.SecretNamespace).Get(t.SecretName)
	if err != nil {
		m.taken[ing.UID] = fmt.Sprintf("TLS secret %s/%s: %v", t.SecretNamespace, t.SecretName, err)
		return
	}
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		m.taken[ing.UID] = fmt.Sprintf("TLS secret %s/%s: %v", t.SecretNamespace, t.SecretName, err)
		return
	}
	m.table.Certificates = append(m.table.Certificates, cert)
}

// backendName is the key under which gateway and scaler know a revision.
func backendName(namespace, revision string) string { return namespace + "/" + revision }

// splitList reads a list with commas, blanks around the words not counting.
func splitList(text string) []string {
	var words []string
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}
