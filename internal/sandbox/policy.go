package sandbox

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// policy is an Egress made ready to be asked.
type policy struct {
	defaultDeny bool
	allow, deny rules
}

type rules struct {
	hosts    map[string]bool
	suffixes []string // ".example.com"
	ranges   []netip.Prefix
}

func newPolicy(e Egress) (*policy, error) {
	allow, err := newRules(e.Allow)
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	deny, err := newRules(e.Deny)
	if err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	return &policy{defaultDeny: e.DefaultDeny, allow: allow, deny: deny}, nil
}

func newRules(entries []string) (rules, error) {
	r := rules{hosts: map[string]bool{}}
	for _, e := range entries {
		name := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(e)), ".")
		if p, err := netip.ParsePrefix(name); err == nil {
			r.ranges = append(r.ranges, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(name); err == nil {
			r.ranges = append(r.ranges, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		if suffix, ok := strings.CutPrefix(name, "*."); ok && validHost(suffix) {
			r.suffixes = append(r.suffixes, "."+suffix)
			continue
		}
		if !validHost(name) {
			return r, fmt.Errorf("%q is no host name, domain (*.example.com), address or range", e)
		}
		r.hosts[name] = true
	}
	return r, nil
}

func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func (r rules) host(name string) bool {
	if r.hosts[name] {
		return true
	}
	for _, s := range r.suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

func (r rules) addr(a netip.Addr) bool {
	for _, p := range r.ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// name says whether a name may be asked for. A name that only the addresses decide about is let through here.
func (p *policy) name(host string) bool {
	switch {
	case p.deny.host(host):
		return false
	case p.allow.host(host):
		return true
	}
	return !p.defaultDeny || len(p.allow.ranges) > 0
}

// destination says whether a connection to an address, asked for by a name or (host empty) directly, is allowed. own says
// whether an address belongs to this machine.
func (p *policy) destination(host string, a netip.Addr, own func(netip.Addr) bool) bool {
	a = a.Unmap()
	if p.deny.addr(a) || (host != "" && p.deny.host(host)) {
		return false
	}
	if p.allow.addr(a) {
		return true
	}
	if reserved(a) || own(a) {
		return false // whatever its name
	}
	return !p.defaultDeny || (host != "" && p.allow.host(host))
}

// reserved addresses are refused unless the policy names them: this machine, its link with the cloud's metadata, no single host.
func reserved(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || metadata6.Contains(a) ||
		alibabaMetadata.Contains(a) || broadcast.Contains(a) || thisNetwork.Contains(a)
}

var (
	thisNetwork     = netip.MustParsePrefix("0.0.0.0/8")
	broadcast       = netip.MustParsePrefix("240.0.0.0/4")
	metadata6       = netip.MustParsePrefix("fd00:ec2::254/128")
	alibabaMetadata = netip.MustParsePrefix("100.100.100.200/32")
)

// ownAddress says whether an address belongs to this machine.
func ownAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // not knowing is no permission
	}
	for _, o := range addrs {
		if n, ok := o.(*net.IPNet); ok {
			if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a {
				return true
			}
		}
	}
	return false
}
