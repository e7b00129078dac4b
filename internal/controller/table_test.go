package controller

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

func TestMappedRulesKeepThePolicy(t *testing.T) {
	target := []gateway.Rule{{Path: "/a", SetHeaders: map[string]string{"A": "1"}}, {Path: "/b"}}
	b := newTableBook(nil)
	b.inside = map[string]gateway.Route{
		"guarded.default.svc.cluster.local": {Rules: target, AllowFrom: []string{"default/friend"}},
		"open.default.svc.cluster.local":    {Rules: target},
	}
	for host, want := range map[string][]string{
		"guarded.default.svc.cluster.local": {"default/friend"}, "open.default.svc.cluster.local": nil,
	} {
		rules := b.mappedRules(&tableEntry{}, gateway.Rule{}, &netv1alpha1.HTTPIngressPath{RewriteHost: host})
		if len(rules) != len(target) {
			t.Fatalf("%s: %d rules, want %d", host, len(rules), len(target))
		}
		for _, rule := range rules {
			if diff := gocmp.Diff(want, rule.AllowFrom); diff != "" || rule.RewriteHost != host {
				t.Errorf("%s: rewritten to %q, policy %s", host, rule.RewriteHost, diff)
			}
		}
	}
	if target[0].AllowFrom != nil || target[0].RewriteHost != "" {
		t.Errorf("the target's own rules were changed: %+v", target[0])
	}
}

// tableHouse is as much of a controller as a table needs.
func tableHouse(t testing.TB, revisions int) *Controller {
	t.Helper()
	c := &Controller{log: slog.New(slog.DiscardHandler), hashes: newHashes(slog.New(slog.DiscardHandler))}
	first, err := defaultSettings("localhost")
	if err != nil {
		t.Fatal(err)
	}
	c.config.Store(first)
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for i := range revisions {
		if err := known.Add(&v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprintf("rev-%d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	c.listers = &listers{revisions: servinglisters.NewRevisionLister(known)}
	return c
}

// routeIngress is the Ingress of a route: a public and an inner host, to one revision.
func routeIngress(i, revision, generation int, more ...string) *netv1alpha1.Ingress {
	name := fmt.Sprintf("svc-%d", i)
	ing := &netv1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name), Generation: int64(generation), CreationTimestamp: metav1.Unix(int64(i), 0),
	}}
	split := netv1alpha1.IngressBackendSplit{Percent: 100, IngressBackend: netv1alpha1.IngressBackend{
		ServiceNamespace: "n", ServiceName: fmt.Sprintf("rev-%d", revision),
	}}
	http := &netv1alpha1.HTTPIngressRuleValue{Paths: []netv1alpha1.HTTPIngressPath{{Splits: []netv1alpha1.IngressBackendSplit{split}}}}
	ing.Spec.Rules = []netv1alpha1.IngressRule{
		{Hosts: []string{name + ".n.svc.cluster.local"}, Visibility: netv1alpha1.IngressVisibilityClusterLocal, HTTP: http},
		{Hosts: append([]string{name + ".N.localhost"}, more...), Visibility: netv1alpha1.IngressVisibilityExternalIP, HTTP: http},
	}
	return ing
}

// mappingIngress is the Ingress of a domain mapping to the route of a number.
func mappingIngress(i, to int) *netv1alpha1.Ingress {
	name := fmt.Sprintf("map-%d.example.com", i)
	ing := &netv1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, to)), CreationTimestamp: metav1.Unix(int64(i), 0),
		Labels: map[string]string{serving.DomainMappingUIDLabelKey: "x"},
	}}
	ing.Spec.Rules = []netv1alpha1.IngressRule{{
		Hosts: []string{name}, Visibility: netv1alpha1.IngressVisibilityExternalIP,
		HTTP: &netv1alpha1.HTTPIngressRuleValue{Paths: []netv1alpha1.HTTPIngressPath{{RewriteHost: fmt.Sprintf("svc-%d.n.svc.cluster.local", to)}}},
	}}
	return ing
}

// wholeBook is the book as makeTable makes it.
func wholeBook(c *Controller, ingresses map[key]*netv1alpha1.Ingress) *tableBook {
	b := newTableBook(c)
	list := slices.SortedFunc(maps.Values(ingresses), func(x, y *netv1alpha1.Ingress) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), strings.Compare(x.Name, y.Name))
	})
	for _, mappings := range []bool{false, true} {
		for _, ing := range list {
			if isMapping(ing) == mappings {
				b.enter(ing)
			}
		}
	}
	return b
}

// TestBookAgreesWithTheWhole changes Ingresses at random, of routes, of mappings that point at them and of some that want the same host,
// and holds that what the gateway is told of each change adds up to the table made whole; and that the gateway takes it.
func TestBookAgreesWithTheWhole(t *testing.T) {
	const revisions = 5
	c := tableHouse(t, revisions)
	g, err := gateway.New(gateway.Config{})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	ingresses := map[key]*netv1alpha1.Ingress{}
	b := wholeBook(c, ingresses)
	routes, backends := map[string]gateway.Route{}, map[string]gateway.Backend{}
	amended := 0
	for step := range 600 {
		ing := routeIngress(random.IntN(8), random.IntN(revisions+1), step) // the last revision is not there
		if random.IntN(3) == 0 {
			ing = mappingIngress(random.IntN(4), random.IntN(8))
		} else if random.IntN(40) == 0 {
			ing.Spec.Rules[1].Hosts = append(ing.Spec.Rules[1].Hosts, "wanted.by.many")
		}
		k := nameOf(ing)
		if ingresses[k] = ing; random.IntN(4) == 0 {
			delete(ingresses, k)
			ing = nil
		}
		whole := wholeBook(c, ingresses)
		if change, ok := b.amend(k, ing); ok {
			amended++
			if err := g.Amend(change); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			follow(routes, backends, change)
		} else {
			b = wholeBook(c, ingresses)
			if err := g.Apply(b.table()); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			clear(routes)
			clear(backends)
			follow(routes, backends, gateway.Change{Routes: b.table().Routes, Backends: b.table().Backends})
		}
		wantRoutes, wantBackends := map[string]gateway.Route{}, map[string]gateway.Backend{}
		follow(wantRoutes, wantBackends, gateway.Change{Routes: whole.table().Routes, Backends: whole.table().Backends})
		if diff := gocmp.Diff(wantRoutes, routes) + gocmp.Diff(wantBackends, backends); diff != "" {
			t.Fatalf("step %d, after %s: %s", step, k, diff)
		}
		if !maps.Equal(b.owner, whole.owner) || !maps.Equal(b.backends, whole.backends) || b.troubled != whole.troubled || len(b.mappings) != len(whole.mappings) {
			t.Fatalf("step %d: the book is %+v, want %+v", step, b, whole)
		}
	}
	if amended < 300 {
		t.Errorf("only %d of 600 changes were made without the whole table", amended)
	}
}

// follow does to plain maps what a change says.
func follow(routes map[string]gateway.Route, backends map[string]gateway.Backend, c gateway.Change) {
	for _, name := range c.Drop {
		delete(routes, name)
	}
	for _, name := range c.DropBackends {
		delete(backends, name)
	}
	for _, r := range c.Routes {
		routes[r.Name] = r
	}
	for _, b := range c.Backends {
		backends[b.Name] = b
	}
}

// TestBookNeedsTheWhole holds that a host goes to the oldest Ingress that wants it, also when its owner goes.
func TestBookNeedsTheWhole(t *testing.T) {
	c := tableHouse(t, 3)
	b := wholeBook(c, nil)
	for i := range 2 {
		if _, ok := b.amend(nameOf(routeIngress(i, i, 1)), routeIngress(i, i, 1)); !ok {
			t.Fatalf("ingress %d: the whole table is made", i)
		}
	}
	late := routeIngress(2, 2, 1, "svc-0.n.localhost")
	if _, ok := b.amend(nameOf(late), late); ok {
		t.Error("a contested host is given without looking who is older")
	}
	ingresses := map[key]*netv1alpha1.Ingress{nameOf(late): late}
	for i := range 2 {
		ingresses[nameOf(routeIngress(i, i, 1))] = routeIngress(i, i, 1)
	}
	b = wholeBook(c, ingresses)
	if trouble := b.entries[nameOf(late)].trouble; !strings.Contains(trouble, "n/svc-0") {
		t.Errorf("the younger ingress is told %q", trouble)
	}
	if _, ok := b.amend(nameOf(routeIngress(1, 2, 2)), routeIngress(1, 2, 2)); !ok {
		t.Error("an ingress that has to do with no contested host has the whole table made")
	}
	if _, ok := b.amend(nameOf(routeIngress(0, 0, 1)), nil); ok {
		t.Error("the host of an ingress that goes is not given to the one that waits for it")
	}
}

// BenchmarkBook follows one Ingress of many: the time must not grow with their number.
func BenchmarkBook(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := tableHouse(b, n)
			ingresses := map[key]*netv1alpha1.Ingress{}
			for i := range n {
				ingresses[nameOf(routeIngress(i, i, 1))] = routeIngress(i, i, 1)
			}
			book, list := wholeBook(c, ingresses), slices.Collect(maps.Values(ingresses))
			for i := 0; b.Loop(); i++ {
				ing := list[i%n]
				if _, ok := book.amend(nameOf(ing), ing); !ok {
					b.Fatal("the whole table is made")
				}
			}
		})
	}
}
