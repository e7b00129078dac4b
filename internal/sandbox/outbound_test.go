package sandbox_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// outside is the outside world's name server: the edge of the machine.
type outside map[string]string

func (o outside) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := o[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// echo listens on the machine's loopback interface and answers every connection with a text.
func echo(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, text)
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestOutbound(t *testing.T) {
	service := echo(t, "from the host")
	m := start(t, sandbox.Config{
		Internal: func(_ *sandbox.Instance, host string) bool { return host == "other.ns.svc.cluster.local" },
		Domains:  []string{"cluster.local"},
		Outbound: func(o sandbox.Outbound) {
			io.WriteString(o.Conn, "for "+o.Host+":"+o.Addr.String()[strings.LastIndex(o.Addr.String(), ":")+1:]+" from "+o.From.ID())
			o.Conn.Close()
		},
		Resolver: outside{"good.example": "127.0.0.1", "evil.example": "127.0.0.1", "rebound.test": "127.0.0.1"},
	})
	at := func(host string) string { return host + ":" + strings.Split(service.String(), ":")[1] }
	plain := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.ID, s.Search = "plain", []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	}))
	expect(t, plain, "for other.ns.svc.cluster.local:80 from plain", "dial", "tcp", "other:80")
	expect(t, plain, "for other.ns.svc.cluster.local:8443 from plain", "dial", "tcp", "other.ns.svc:8443")
	expect(t, plain, "ERR", "lookup", "missing.ns.svc.cluster.local")
	expect(t, plain, "no such host", "lookup", "missing")
	expect(t, plain, "no such host", "lookup", "nowhere.example")
	expect(t, plain, "198.18.", "lookup", "good.example")
	// By default neither the machine's loopback nor the cloud's metadata is reached, not even by a name that stands for them.
	for _, to := range []string{at("rebound.test"), "169.254.169.254:80", "198.18.200.200:80", at("0.0.0.0")} {
		expect(t, plain, "ERR", "dial", "tcp", to)
	}
	expect(t, plain, "ERR", "talk", "udp", "8.8.8.8:123", "x")
	for _, own := range ownAddresses(t) {
		expect(t, plain, "ERR", "dial", "tcp", at(own))
	}

	open := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.ID = "open"
		s.Egress = sandbox.Egress{DefaultDeny: true, Allow: []string{"127.0.0.1/32"}, Deny: []string{"evil.example"}}
	}))
	expect(t, open, "from the host", "dial", "tcp", at("good.example"))
	expect(t, open, "no such host", "lookup", "evil.example")
	expect(t, open, "ERR", "dial", "tcp", "93.184.216.34:80")
	expect(t, open, "for other.ns.svc.cluster.local:80 from open", "dial", "tcp", "other.ns.svc.cluster.local:80")

	closed := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Egress = sandbox.Egress{DefaultDeny: true} }))
	expect(t, closed, "no such host", "lookup", "good.example")
}

// ownAddresses are addresses of this machine besides loopback.
func ownAddresses(t *testing.T) []string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			out = append(out, n.IP.String())
		}
	}
	slices.Sort(out)
	return out
}
