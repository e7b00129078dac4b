package gateway

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"text/template"
)

// routes is a Table made ready for matching. It never changes.
type routes struct {
	exact      hostIndex
	wild       hostIndex                   // by the domain after "*."
	certs      map[string]*tls.Certificate // the user's, by name or "*.domain"
	requestLog *template.Template
	logProbes  bool
}

type route struct {
	Route
	rules []rule
	names []string          // the hosts, canonical
	uses  map[*backend]bool // the backends named; true for those that traffic is sent to
}

type rule struct {
	path       string // without a slash at the end; "" matches everything
	headers    []header
	host       string
	setHeaders []header
	allowFrom  []string
	splits     []split
	sum        int
}

type split struct {
	backend    *backend
	weight     int
	setHeaders []header
}

// header is a canonical name and its value, with the value ready to be put into an http.Header.
type header struct {
	name   string
	values []string
}

// compile checks the table and makes it ready; get gives the state kept under a backend's name.
func compile(t Table, get func(string) *backend) (*routes, *ledger, error) {
	rs, l := &routes{certs: map[string]*tls.Certificate{}, logProbes: t.RequestLogProbes}, newLedger()
	var errs []error
	for _, spec := range t.Backends {
		if l.backends[spec.Name] != nil {
			errs = append(errs, fmt.Errorf("backend %q is listed twice", spec.Name))
			continue
		}
		l.backends[spec.Name] = get(spec.Name)
	}
	for _, in := range t.Routes {
		r, err := compileRoute(in, func(name string) *backend { return l.backends[name] })
		if err == nil {
			err = rs.claim(r, (*hostIndex).put)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.add(r)
	}
	for _, c := range t.Certificates {
		errs = append(errs, rs.addCertificate(c))
	}
	if t.RequestLog != "" {
		tmpl, err := parseRequestLog(t.RequestLog)
		errs = append(errs, err)
		rs.requestLog = tmpl
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, fmt.Errorf("routing table: %w", err)
	}
	return rs, l, nil
}

// compileRoute makes a route ready; find gives the backends that it may name.
func compileRoute(in Route, find func(string) *backend) (*route, error) {
	out := &route{Route: in, uses: map[*backend]bool{}}
	if len(in.Rules) == 0 {
		return nil, fmt.Errorf("route %q has no rules", in.Name)
	}
	for n, r := range in.Rules {
		c, err := out.compileRule(r, find)
		if err != nil {
			return nil, fmt.Errorf("route %q, rule %d: %w", in.Name, n, err)
		}
		out.rules = append(out.rules, c)
	}
	slices.SortStableFunc(out.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(len(b.headers), len(a.headers)))
	})
	for _, host := range in.Hosts {
		name, ok := canonicalHost(host)
		if !ok {
			return nil, fmt.Errorf("route %q: host %q is not a host name", in.Name, host)
		}
		if strings.Contains(strings.TrimPrefix(name, "*."), "*") {
			return nil, fmt.Errorf(`route %q: host %q: a wildcard is only allowed as the first label, "*.domain"`, in.Name, host)
		}
		out.names = append(out.names, name)
	}
	return out, nil
}

// claim puts a route under its hosts, which must be free.
func (rs *routes) claim(r *route, put func(*hostIndex, string, *route)) error {
	for n, name := range r.names {
		index, key := rs.index(name)
		if other := index.get(key); other != nil && other != r {
			return fmt.Errorf("host %q is claimed by the routes %q and %q", r.Hosts[n], other.Name, r.Name)
		}
		put(index, key, r)
	}
	return nil
}

// index is where a canonical host is looked up, and by what.
func (rs *routes) index(name string) (*hostIndex, string) {
	if domain, wild := strings.CutPrefix(name, "*."); wild {
		return &rs.wild, domain
	}
	return &rs.exact, name
}

func (r *route) compileRule(in Rule, find func(string) *backend) (rule, error) {
	if in.Path != "" && in.Path[0] != '/' {
		return rule{}, fmt.Errorf("path %q does not begin with a slash", in.Path)
	}
	out := rule{
		path:       strings.TrimRight(in.Path, "/"),
		headers:    compileHeaders(in.Headers),
		host:       in.RewriteHost,
		setHeaders: compileHeaders(in.SetHeaders),
		allowFrom:  in.AllowFrom,
	}
	if len(in.Splits) == 0 {
		return rule{}, errors.New("no splits")
	}
	for _, s := range in.Splits {
		b := find(s.Backend)
		if b == nil {
			return rule{}, fmt.Errorf("backend %q is not in the table", s.Backend)
		}
		if s.Weight < 0 {
			return rule{}, fmt.Errorf("backend %q has the negative weight %d", s.Backend, s.Weight)
		}
		out.sum += s.Weight
		out.splits = append(out.splits, split{backend: b, weight: s.Weight, setHeaders: compileHeaders(s.SetHeaders)})
	}
	for n, s := range out.splits {
		r.uses[s.backend] = r.uses[s.backend] || s.weight > 0 || (out.sum == 0 && n == 0)
	}
	return out, nil
}

func compileHeaders(in map[string]string) []header {
	var out []header
	for k, v := range in {
		out = append(out, header{name: textproto.CanonicalMIMEHeaderKey(k), values: []string{v}})
	}
	slices.SortFunc(out, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return out
}

// canonicalHost gives the host of a Host header in the form the index has: lower case, without port and without the dot at
// the end. It says no to what cannot be a host.
func canonicalHost(s string) (string, bool) {
	if s == "" || len(s) > 261 { // 253, a dot, a colon and a port
		return "", false
	}
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 || !isPort(s[end+1:]) {
			return "", false
		}
		ip, err := netip.ParseAddr(s[1:end])
		return ip.WithZone("").String(), err == nil && ip.Is6()
	}
	if colon := strings.IndexByte(s, ':'); colon >= 0 {
		if !isPort(s[colon:]) {
			return "", false
		}
		s = s[:colon]
	}
	s = strings.TrimSuffix(s, ".")
	lower := true
	label := 0
	for n := range len(s) {
		c := s[n]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '*':
			label++
		case 'A' <= c && c <= 'Z':
			label++
			lower = false
		case c == '.' && label > 0:
			label = 0
		default:
			return "", false
		}
	}
	if label == 0 || len(s) > 253 {
		return "", false
	}
	if !lower {
		s = strings.ToLower(s)
	}
	return s, true
}

// isPort says whether s is nothing or a colon and a port.
func isPort(s string) bool {
	if s == "" || s == ":" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for n := 1; n < len(s); n++ {
		if s[n] < '0' || s[n] > '9' {
			return false
		}
	}
	return true
}

// host finds the route of a canonical host.
func (rs *routes) host(name string) *route {
	if r := rs.exact.get(name); r != nil {
		return r
	}
	if rs.wild.len == 0 {
		return nil
	}
	for {
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return nil
		}
		name = name[dot+1:]
		if r := rs.wild.get(name); r != nil {
			return r
		}
	}
}

// find gives the route for a host header as the caller sees it: first the name itself, then with the caller's search domains.
func (rs *routes) find(hostHeader string, c *Caller) *route {
	name, ok := canonicalHost(cmp.Or(c.host, hostHeader))
	if !ok {
		return nil
	}
	r := rs.host(name)
	for n := 0; r == nil && n < len(c.Search); n++ {
		r = rs.host(name + "." + c.Search[n])
	}
	if r == nil || (r.Visibility == ClusterLocal && !c.Internal) {
		return nil
	}
	return r
}

// rule finds the rule for a path and headers; nil if none matches.
func (r *route) rule(path string, h http.Header) *rule {
	for n := range r.rules {
		if c := &r.rules[n]; c.matches(path, h) {
			return c
		}
	}
	return nil
}

func (c *rule) matches(path string, h http.Header) bool {
	if c.path != "" {
		if !strings.HasPrefix(path, c.path) || (len(path) > len(c.path) && path[len(c.path)] != '/') {
			return false
		}
	}
	for _, want := range c.headers {
		got := h[want.name]
		if len(got) == 0 || got[0] != want.values[0] {
			return false
		}
	}
	return true
}

// split chooses by weight; random is uniform in [0, n).
func (c *rule) split(random func(n int) int) *split {
	if len(c.splits) == 1 || c.sum == 0 {
		return &c.splits[0]
	}
	at := random(c.sum)
	for n := range c.splits {
		if at -= c.splits[n].weight; at < 0 {
			return &c.splits[n]
		}
	}
	return &c.splits[0]
}

// allows says whether the caller is among those that a policy names.
func allows(policy []string, c *Caller) bool {
	if len(policy) == 0 || c.trusted {
		return true
	}
	name := c.name()
	for _, a := range policy {
		if a == name || (a == "*" && c.Internal) {
			return true
		}
		if ns, ok := strings.CutSuffix(a, "/*"); ok && c.Internal && ns == c.Namespace {
			return true
		}
	}
	return false
}
