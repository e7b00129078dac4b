package gateway

import (
	"errors"
	"fmt"
	"net"
)

// Change says what becomes of some routes and backends of the table in force.
type Change struct {
	// Drop names routes that go. Unknown names do nothing.
	Drop []string
	// Routes that come, also in the place of those of the same name.
	Routes []Route
	// Backends that come, or are different from now on.
	Backends []Backend
	// DropBackends names backends that go; no route may name them then. Unknown names do nothing.
	DropBackends []string
}

// ledger says what the table in force is made of. Apply and Amend alone use it, one at a time.
type ledger struct {
	routes   map[string][]*route // by name; a table made whole may have several of one name
	backends map[string]*backend
	named    map[*backend]int // how many routes name it
	sent     map[*backend]int // how many of these send traffic there
}

func newLedger() *ledger {
	return &ledger{routes: map[string][]*route{}, backends: map[string]*backend{}, named: map[*backend]int{}, sent: map[*backend]int{}}
}

func (l *ledger) add(r *route) {
	l.routes[r.Name] = append(l.routes[r.Name], r)
	l.count(r, 1)
}

// drop takes all routes of a name out.
func (l *ledger) drop(name string) {
	for _, r := range l.routes[name] {
		l.count(r, -1)
	}
	delete(l.routes, name)
}

func (l *ledger) count(r *route, by int) {
	for b, sent := range r.uses {
		if l.named[b] += by; l.named[b] == 0 {
			delete(l.named, b)
		}
		if !sent {
			continue
		}
		if l.sent[b] += by; l.sent[b] == 0 {
			delete(l.sent, b)
		}
	}
}

// sweepAtOnce is how many backends each change looks at that it is not about, to forget those that nothing is left of.
const sweepAtOnce = 16

// Amend changes the table in force, all at once and at a cost that does not depend on how large the table is. A change that
// contradicts itself or what stays is refused, and the table stays as it was.
func (g *Gateway) Amend(c Change) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	l := g.ledger
	next, fresh, err := g.amended(c)
	if err != nil {
		return fmt.Errorf("change of the routing table: %w", err)
	}
	touched, lost := map[*backend]bool{}, false
	for _, name := range gone(c) {
		for _, r := range l.routes[name] {
			for b := range r.uses {
				touched[b] = true
			}
			for _, host := range r.names {
				index, key := next.index(host)
				lost = lost || index.get(key) == nil
			}
		}
		l.drop(name)
	}
	for _, spec := range c.Backends {
		b := g.backend(spec.Name)
		b.spec.Store(&spec)
		l.backends[spec.Name] = b
	}
	for _, r := range fresh {
		l.add(r)
		for b := range r.uses {
			touched[b] = true
			if l.sent[b] > 0 {
				b.setRouted(true) // before the first request comes by the new table
			}
		}
	}
	g.routes.Store(next)
	for b := range touched {
		if l.sent[b] == 0 {
			b.setRouted(false) // after the last request has come by the old one
		}
	}
	for _, name := range c.DropBackends {
		delete(l.backends, name)
	}
	g.forget(c.DropBackends)
	if lost {
		g.keepCertificates(next)
	}
	return nil
}

// gone are the names of the routes that a change takes away or replaces.
func gone(c Change) []string {
	names := append([]string(nil), c.Drop...)
	for i := range c.Routes {
		names = append(names, c.Routes[i].Name)
	}
	return names
}

// amended is the table after a change and the routes that are new in it. It changes nothing.
func (g *Gateway) amended(c Change) (*routes, []*route, error) {
	dropped := make(map[string]bool, len(c.DropBackends))
	for _, name := range c.DropBackends {
		dropped[name] = true
	}
	coming := make(map[string]bool, len(c.Backends))
	for i := range c.Backends {
		coming[c.Backends[i].Name] = true
	}
	find := func(name string) *backend {
		if dropped[name] {
			return nil
		}
		if coming[name] {
			return g.backend(name)
		}
		return g.ledger.backends[name]
	}
	next := *g.routes.Load()
	left := map[*backend]int{} // routes that name a backend and go
	replaced := map[string]bool{}
	for _, name := range gone(c) {
		if replaced[name] {
			continue
		}
		replaced[name] = true
		for _, r := range g.ledger.routes[name] {
			for _, host := range r.names {
				index, key := next.index(host)
				index.without(key)
			}
			for b := range r.uses {
				left[b]++
			}
		}
	}
	var errs []error
	for _, name := range c.DropBackends {
		if b := g.ledger.backends[name]; b != nil && g.ledger.named[b] > left[b] {
			errs = append(errs, fmt.Errorf("backend %q goes, and a route that stays names it", name))
		}
	}
	fresh := make([]*route, 0, len(c.Routes))
	for _, in := range c.Routes {
		r, err := compileRoute(in, find)
		if err == nil {
			err = next.claim(r, (*hostIndex).with)
		}
		errs = append(errs, err)
		fresh = append(fresh, r)
	}
	return &next, fresh, errors.Join(errs...)
}

// forget drops the backends of these names that are not in the table and that nothing is left of; and some others, so that none stays
// for good.
func (g *Gateway) forget(names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		g.forgetOne(name)
	}
	looked := 0
	for name := range g.backends { // in another order each time
		if looked++; looked > sweepAtOnce {
			return
		}
		g.forgetOne(name)
	}
}

// forgetOne forgets a backend if it may be. g.mu is held.
func (g *Gateway) forgetOne(name string) {
	if b := g.backends[name]; b != nil && g.ledger.backends[name] == nil && b.end() {
		delete(g.backends, name)
		g.metrics.forget(b)
	}
}

// keepCertificates forgets those that were made for hosts that are not in the table any more.
func (g *Gateway) keepCertificates(rs *routes) {
	if g.certs != nil {
		g.certs.local.keep(func(name string) bool { return rs.host(name) != nil || net.ParseIP(name) != nil || name == "localhost" })
	}
}
