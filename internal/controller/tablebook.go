package controller

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// tableBook says what the gateway's table is made of, Ingress by Ingress, so that a change of one costs the same however many there are.
// The table's queue alone uses it.
type tableBook struct {
	c        *Controller
	entries  map[key]*tableEntry
	owner    map[string]key           // host to the Ingress that has it
	inside   map[string]gateway.Route // the routes that domain mappings may point at, by host
	mappings map[string]map[key]bool  // those hosts to the mappings that point at them
	backends map[string]int           // how many entries send to a backend
	troubled int                      // how many entries have a trouble
}

// tableEntry is one Ingress as the table has it.
type tableEntry struct {
	ingress  *netv1alpha1.Ingress
	hosts    []string
	routes   []gateway.Route
	backends map[string]gateway.Backend
	certs    []tls.Certificate
	targets  map[string]bool // hosts of routes that a mapping points at
	trouble  string          // what is wrong with it, for its status
}

func newTableBook(c *Controller) *tableBook {
	return &tableBook{
		c: c, entries: map[key]*tableEntry{}, owner: map[string]key{}, inside: map[string]gateway.Route{},
		mappings: map[string]map[key]bool{}, backends: map[string]int{},
	}
}

func nameOf(ing *netv1alpha1.Ingress) key { return key{Namespace: ing.Namespace, Name: ing.Name} }

// isMapping tells the Ingress of a domain mapping from that of a route.
func isMapping(ing *netv1alpha1.Ingress) bool {
	_, mapping := ing.Labels[serving.DomainMappingUIDLabelKey]
	return mapping
}

// table is all of it.
func (b *tableBook) table() gateway.Table {
	var t gateway.Table
	o := b.c.settings().observability
	if o.EnableRequestLog {
		t.RequestLog, t.RequestLogProbes = o.RequestLogTemplate, o.EnableProbeRequestLog
	}
	backends := map[string]gateway.Backend{}
	for _, e := range b.entries {
		t.Routes = append(t.Routes, e.routes...)
		t.Certificates = append(t.Certificates, e.certs...)
		maps.Copy(backends, e.backends)
	}
	t.Backends = slices.Collect(maps.Values(backends))
	return t
}

// amend follows one Ingress, nil if it is gone, and gives what that changes in the table. It says no, and has changed nothing, where the
// table has to be made whole: where hosts are contested, which age decides, and where certificates come or go.
func (b *tableBook) amend(k key, ing *netv1alpha1.Ingress) (gateway.Change, bool) {
	old := b.entries[k]
	if old == nil {
		old = &tableEntry{}
		if ing == nil {
			return gateway.Change{}, true
		}
	}
	hosts := wanted(ing)
	freed := slices.ContainsFunc(old.hosts, func(host string) bool { return !slices.Contains(hosts, host) })
	switch {
	case old.trouble != "", freed && b.troubled > 0, b.contested(k, hosts):
		return gateway.Change{}, false
	case len(old.certs) > 0, ing != nil && len(ing.Spec.TLS) > 0:
		return gateway.Change{}, false
	}
	follow := b.followers(old, hosts)
	before := []*tableEntry{old}
	for _, one := range follow {
		before = append(before, b.entries[nameOf(one)])
		b.leave(nameOf(one))
	}
	b.leave(k)
	var after []*tableEntry
	if ing != nil {
		after = append(after, b.enter(ing))
	} else {
		b.c.hashes.forget(old.ingress)
	}
	for _, one := range follow {
		after = append(after, b.enter(one))
	}
	return b.change(before, after), true
}

// wanted are the hosts that an Ingress asks for, none where it is gone.
func wanted(ing *netv1alpha1.Ingress) []string {
	var hosts []string
	if ing == nil {
		return nil
	}
	for i := range ing.Spec.Rules {
		for _, host := range ing.Spec.Rules[i].Hosts {
			hosts = append(hosts, strings.ToLower(host))
		}
	}
	return hosts
}

// contested tells whether another Ingress than k has one of the hosts.
func (b *tableBook) contested(k key, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		owner, taken := b.owner[host]
		return taken && owner != k
	})
}

// followers are the mappings that point at a host that an entry has or is to have.
func (b *tableBook) followers(old *tableEntry, hosts []string) []*netv1alpha1.Ingress {
	found := map[key]bool{}
	var list []*netv1alpha1.Ingress
	for _, host := range slices.Concat(old.hosts, hosts) {
		for k := range b.mappings[host] {
			if !found[k] && b.entries[k] != old {
				found[k] = true
				list = append(list, b.entries[k].ingress)
			}
		}
	}
	return list
}

// change is what the gateway has to be told when some entries take the place of others.
func (b *tableBook) change(before, after []*tableEntry) gateway.Change {
	var c gateway.Change
	stays, backends := map[string]bool{}, map[string]gateway.Backend{}
	for _, e := range after {
		c.Routes = append(c.Routes, e.routes...)
		maps.Copy(backends, e.backends)
		for i := range e.routes {
			stays[e.routes[i].Name] = true
		}
	}
	c.Backends = slices.Collect(maps.Values(backends))
	dropped := map[string]bool{}
	for _, e := range before {
		for i := range e.routes {
			if !stays[e.routes[i].Name] {
				c.Drop = append(c.Drop, e.routes[i].Name)
			}
		}
		for name := range e.backends {
			if b.backends[name] == 0 && !dropped[name] {
				dropped[name] = true
				c.DropBackends = append(c.DropBackends, name)
			}
		}
	}
	return c
}

// leave takes an Ingress out of the book.
func (b *tableBook) leave(k key) {
	e := b.entries[k]
	if e == nil {
		return
	}
	delete(b.entries, k)
	for _, host := range e.hosts {
		delete(b.owner, host)
		delete(b.inside, host)
	}
	for host := range e.targets {
		if delete(b.mappings[host], k); len(b.mappings[host]) == 0 {
			delete(b.mappings, host)
		}
	}
	for name := range e.backends {
		if b.backends[name]--; b.backends[name] == 0 {
			delete(b.backends, name)
		}
	}
	if e.trouble != "" {
		b.troubled--
	}
}

// enter puts an Ingress into the book. Those of routes have to be there before the mappings that point at them.
func (b *tableBook) enter(ing *netv1alpha1.Ingress) *tableEntry {
	k, mapping := nameOf(ing), isMapping(ing)
	e := &tableEntry{ingress: ing, backends: map[string]gateway.Backend{}, targets: map[string]bool{}}
	b.entries[k] = e
	hash := b.c.hashes.of(ing)
	for i := range ing.Spec.Rules {
		in := &ing.Spec.Rules[i]
		route := gateway.Route{
			Name:      fmt.Sprintf("%s/%s#%d", ing.Namespace, ing.Name, i),
			Hosts:     b.claim(e, k, in.Hosts),
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
			route.Rules = append(route.Rules, b.rules(e, &in.HTTP.Paths[j], mapping)...)
			if mapping {
				e.targets[in.HTTP.Paths[j].RewriteHost] = true
				route.Notice = cmp.Or(route.Notice, b.inside[in.HTTP.Paths[j].RewriteHost].Notice)
			}
		}
		if len(route.Rules) == 0 {
			continue
		}
		if route.Visibility == gateway.ClusterLocal {
			for _, host := range route.Hosts {
				b.inside[host] = route
			}
		}
		e.routes = append(e.routes, route)
	}
	for _, t := range ing.Spec.TLS {
		b.addCertificate(e, t)
	}
	b.count(k, e)
	return e
}

// count notes what an entry that is whole makes use of.
func (b *tableBook) count(k key, e *tableEntry) {
	for host := range e.targets {
		if b.mappings[host] == nil {
			b.mappings[host] = map[key]bool{}
		}
		b.mappings[host][k] = true
	}
	for name := range e.backends {
		b.backends[name]++
	}
	if e.trouble != "" {
		b.troubled++
	}
}

// claim gives the hosts nobody older has.
func (b *tableBook) claim(e *tableEntry, k key, hosts []string) []string {
	var free []string
	for _, host := range hosts {
		host = strings.ToLower(host)
		if owner, taken := b.owner[host]; taken {
			e.trouble = fmt.Sprintf("host %s belongs to ingress %s", host, owner)
			continue
		}
		b.owner[host] = k
		free = append(free, host)
	}
	e.hosts = append(e.hosts, free...)
	return free
}

func (b *tableBook) rules(e *tableEntry, path *netv1alpha1.HTTPIngressPath, mapping bool) []gateway.Rule {
	rule := gateway.Rule{Path: path.Path, RewriteHost: path.RewriteHost, SetHeaders: path.AppendHeaders}
	for name, match := range path.Headers {
		if rule.Headers == nil {
			rule.Headers = make(map[string]string, len(path.Headers))
		}
		rule.Headers[name] = match.Exact
	}
	if mapping {
		return b.mappedRules(e, rule, path)
	}
	for _, split := range path.Splits {
		rev, err := b.c.listers.revisions.Revisions(split.ServiceNamespace).Get(split.ServiceName)
		if err != nil {
			continue // deleted by hand, and the route tells; or not here yet, and the Ingress is queued again when it is
		}
		name := backendName(rev.Namespace, rev.Name)
		if _, there := e.backends[name]; !there {
			e.backends[name] = makeBackend(rev)
		}
		rule.Splits = append(rule.Splits, gateway.Split{Backend: name, Weight: split.Percent, SetHeaders: split.AppendHeaders})
	}
	if len(rule.Splits) == 0 {
		return nil
	}
	return []gateway.Rule{rule}
}

// mappedRules are the rules of the route a domain mapping points at, with the host written anew. The route's policy goes with them:
// a mapping may narrow it, but is no way around it.
func (b *tableBook) mappedRules(e *tableEntry, rule gateway.Rule, path *netv1alpha1.HTTPIngressPath) []gateway.Rule {
	var rules []gateway.Rule
	to := b.inside[path.RewriteHost]
	if owner := b.entries[b.owner[path.RewriteHost]]; owner != nil {
		maps.Copy(e.backends, owner.backends)
	}
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

// addCertificate takes a certificate the user gave in a Secret.
func (b *tableBook) addCertificate(e *tableEntry, t netv1alpha1.IngressTLS) {
	secret, err := b.c.listers.secrets.Secrets(t.SecretNamespace).Get(t.SecretName)
	if err != nil {
		e.trouble = fmt.Sprintf("TLS secret %s/%s: %v", t.SecretNamespace, t.SecretName, err)
		return
	}
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		e.trouble = fmt.Sprintf("TLS secret %s/%s: %v", t.SecretNamespace, t.SecretName, err)
		return
	}
	e.certs = append(e.certs, cert)
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
