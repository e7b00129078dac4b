package gateway

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// hosts gives every name of an index, which a test may read and nothing else needs.
func (x *hostIndex) hosts() map[string]string {
	all := map[string]string{}
	for _, row := range x.rows {
		if row == nil {
			continue
		}
		for _, cell := range row {
			for name, r := range cell {
				all[name] = r.Name
			}
		}
	}
	return all
}

func testGateway(t testing.TB) *Gateway {
	t.Helper()
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestAmendAgreesWithApply changes a table at random and holds that it is each time what it would be had it been applied whole: hosts,
// backends, and which of these get traffic.
func TestAmendAgreesWithApply(t *testing.T) {
	g := testGateway(t)
	random := rand.New(rand.NewPCG(1, 2))
	routes, backends := map[string]Route{}, map[string]Backend{}
	for step := range 400 {
		c := randomChange(random, routes, backends)
		before := g.routes.Load()
		hosts, length := before.exact.hosts(), before.exact.len
		if err := g.Amend(c); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if !maps.Equal(before.exact.hosts(), hosts) || before.exact.len != length {
			t.Fatalf("step %d: the table that was in force was changed", step)
		}
		whole := Table{Routes: slices.Collect(maps.Values(routes)), Backends: slices.Collect(maps.Values(backends))}
		want, ledger, err := compile(whole, g.backend)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		got := g.routes.Load()
		if !maps.Equal(got.exact.hosts(), want.exact.hosts()) || got.exact.len != want.exact.len ||
			!maps.Equal(got.wild.hosts(), want.wild.hosts()) || got.wild.len != want.wild.len {
			t.Fatalf("step %d: hosts %v %v, want %v %v", step, got.exact.hosts(), got.wild.hosts(), want.exact.hosts(), want.wild.hosts())
		}
		if !maps.Equal(g.ledger.backends, ledger.backends) || !maps.Equal(g.ledger.sent, ledger.sent) || !maps.Equal(g.ledger.named, ledger.named) {
			t.Fatalf("step %d: the ledger is %+v, want %+v", step, g.ledger, ledger)
		}
		for _, b := range g.snapshot() {
			if b.unrouted != (ledger.sent[b] == 0) {
				t.Fatalf("step %d: backend %s: unrouted %t with %d routes that send to it", step, b.name, b.unrouted, ledger.sent[b])
			}
		}
	}
}

// randomChange makes a change and does the same to the plain model of the table.
func randomChange(random *rand.Rand, routes map[string]Route, backends map[string]Backend) Change {
	var c Change
	for range 1 + random.IntN(3) {
		name := fmt.Sprintf("r%d", random.IntN(12))
		if _, there := routes[name]; slices.Contains(gone(c), name) || there && random.IntN(3) == 0 {
			if !slices.Contains(gone(c), name) {
				c.Drop = append(c.Drop, name)
				delete(routes, name)
			}
			continue
		}
		route := Route{Name: name, Hosts: []string{name + ".example.com", fmt.Sprintf("v%d.%s.example.com", random.IntN(3), name)}}
		if random.IntN(4) == 0 {
			route.Hosts = append(route.Hosts, "*."+name+".example.com")
		}
		for range 1 + random.IntN(2) {
			rule := Rule{Splits: []Split{{Backend: fmt.Sprintf("b%d", random.IntN(6)), Weight: 100}, {Backend: fmt.Sprintf("b%d", random.IntN(6))}}}
			for _, to := range rule.Splits {
				if _, there := backends[to.Backend]; !there {
					backends[to.Backend] = Backend{Name: to.Backend}
					c.Backends = append(c.Backends, backends[to.Backend])
				}
			}
			route.Rules = append(route.Rules, rule)
		}
		routes[name] = route
		c.Routes = append(c.Routes, route)
	}
	for name := range backends {
		used := slices.ContainsFunc(slices.Collect(maps.Values(routes)), func(r Route) bool {
			return slices.ContainsFunc(r.Rules, func(in Rule) bool { return in.Splits[0].Backend == name || in.Splits[1].Backend == name })
		})
		if !used && !slices.ContainsFunc(c.Backends, func(b Backend) bool { return b.Name == name }) {
			delete(backends, name)
			c.DropBackends = append(c.DropBackends, name)
		}
	}
	return c
}

// TestAmendRefuses holds that a change which contradicts itself or what stays changes nothing.
func TestAmendRefuses(t *testing.T) {
	g := testGateway(t)
	to := func(backend string) []Rule { return []Rule{{Splits: []Split{{Backend: backend}}}} }
	err := g.Apply(Table{
		Backends: []Backend{{Name: "a"}},
		Routes:   []Route{{Name: "one", Hosts: []string{"one.example.com"}, Rules: to("a")}, {Name: "two", Hosts: []string{"two.example.com"}, Rules: to("a")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Change{
		"claimed by the routes": {Routes: []Route{{Name: "three", Hosts: []string{"two.example.com"}, Rules: to("a")}}},
		"is not in the table":   {Routes: []Route{{Name: "one", Hosts: []string{"one.example.com"}, Rules: to("b")}}},
		"a route that stays":    {Drop: []string{"one"}, DropBackends: []string{"a"}},
		"no rules":              {Routes: []Route{{Name: "one"}}},
	} {
		before := g.routes.Load()
		if err := g.Amend(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", c, err, want)
		}
		if g.routes.Load() != before || len(g.ledger.routes) != 2 || g.ledger.named[g.ledger.backends["a"]] != 2 {
			t.Errorf("%+v has changed the table", c)
		}
	}
	// A host may move from one route to another.
	err = g.Amend(Change{Drop: []string{"one"}, Routes: []Route{{Name: "two", Hosts: []string{"one.example.com"}, Rules: to("a")}}})
	if r := g.routes.Load().host("one.example.com"); err != nil || r == nil || r.Name != "two" || g.routes.Load().host("two.example.com") != nil {
		t.Errorf("moving a host: %v, %+v", err, r)
	}
}

// BenchmarkAmend changes one route of many: the time must not grow with their number.
func BenchmarkAmend(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := testGateway(b)
			var t Table
			for i := range n {
				name := fmt.Sprintf("hello-%d", i)
				t.Backends = append(t.Backends, Backend{Name: name})
				t.Routes = append(t.Routes, Route{
					Name: name, Hosts: []string{name + ".default.localhost", name + ".default.svc.cluster.local", name + ".default"},
					Rules: []Rule{{Splits: []Split{{Backend: name, Weight: 100}}}},
				})
			}
			if err := g.Apply(t); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				if err := g.Amend(Change{Routes: t.Routes[i%n : i%n+1], Backends: t.Backends[i%n : i%n+1]}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
