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
	exact      map[string]*route
	wild       map[string]*route // by the domain after "*."
	backends   map[string]*backend
	certs      map[string]*tls.Certificate // the user's, by name or "*.domain"
	routed     map[*backend]bool           // those that traffic is sent to
	requestLog *template.Template
	logProbes  bool
}

type route struct {
	Route
	rules []rule
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
func compile(t Table, get func(string) *backend) (*routes, error) {
	rs := &routes{exact: map[string]*route{}, wild: map[string]*route{}, backends: map[string]*backend{}, certs: map[string]*tls.Certificate{}, routed: map[*backend]bool{}, logProbes: t.RequestLogProbes}
	var errs []error
	for _, spec := range t.Backends {
		if rs.backends[spec.Name] != nil {
			errs = append(errs, fmt.Errorf("backend %q is listed twice", spec.Name))
			continue
		}
		rs.backends[spec.Name] = get(spec.Name)
	}
	for _, in := range t.Routes {
		errs = append(errs, rs.add(in))
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
		return nil, fmt.Errorf("routing table: %w", err)
	}
	return rs, nil
}

func (rs *routes) add(in Route) error {
	out := &route{Route: in}
	if len(in.Rules) == 0 {
		return fmt.Errorf("route %q has no rules", in.Name)
	}
	for n, r := range in.Rules {
		c, err := rs.compileRule(r)
		if err != nil {
			return fmt.Errorf("route %q, rule %d: %w", in.Name, n, err)
		}
		out.rules = append(out.rules, c)
	}
	slices.SortStableFunc(out.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(len(b.headers), len(a.headers)))
	})
	for _, h := range in.Hosts {
		if err := rs.claim(h, out); err != nil {
			return err
		}
	}
	return nil
}

func (rs *routes) claim(host string, r *route) error {
	name, ok := canonicalHost(host)
	if !ok {
		return fmt.Errorf("route %q: host %q is not a host name", r.Name, host)
	}
	index := rs.exact
	if domain, wild := strings.CutPrefix(name, "*."); wild {
		name, index = domain, rs.wild
	}
	if strings.Contains(name, "*") {
		return fmt.Errorf(`route %q: host %q: a wildcard is only allowed as the first label, "*.domain"`, r.Name, host)
	}
	if other := index[name]; other != nil && other != r {
		return fmt.Errorf("host %q is claimed by the routes %q and %q", host, other.Name, r.Name)
	}
	index[name] = r
	return nil
}

func (rs *routes) compileRule(in Rule) (rule, error) {
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
		b := rs.backends[s.Backend]
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
		if s.weight > 0 || (out.sum == 0 && n == 0) {
			rs.routed[s.backend] = true
		}
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
	if r := rs.exact[name]; r != nil {
		return r
	}
	if len(rs.wild) == 0 {
		return nil
	}
	for {
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return nil
		}
		name = name[dot+1:]
		if r := rs.wild[name]; r != nil {
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
