package sandbox

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// Names are answered for a short time only: what an address stands for is decided when it is connected to.
const (
	answerTTL  = 5
	lookupTime = 5 * time.Second
)

// answer answers one DNS question of the instance.
func (o *outbound) answer(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(q)
	reply.RecursionAvailable = true
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		reply.Rcode = dns.RcodeNotImplemented
	} else {
		o.resolve(reply, q.Question[0])
	}
	if err := w.WriteMsg(reply); err != nil {
		o.i.m.log.Debug("answering a name", "instance", o.i.id, "err", err)
	}
}

// verdict is what is known of a name.
type verdict int

const (
	exists verdict = iota
	unknown
	denied
	broken
)

func (o *outbound) resolve(reply *dns.Msg, q dns.Question) {
	host := canonical(q.Name)
	if q.Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeNotImplemented
		return
	}
	if q.Qtype == dns.TypePTR {
		o.reverse(reply, q, host)
		return
	}
	v := o.look(host)
	switch v {
	case unknown, denied:
		reply.Rcode = dns.RcodeNameError
	case broken:
		reply.Rcode = dns.RcodeServerFailure
	}
	o.count("name", []string{"answered", "unknown", "denied", "failed"}[v])
	if v == denied {
		o.i.m.log.Info("egress refused", "instance", o.i.id, "host", host)
	}
	if v != exists || q.Qtype != dns.TypeA {
		return // the name exists, but has nothing else than an IPv4 address
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		return
	}
	if host == o.i.spec.Hostname {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: netns.Self().AsSlice()})
		return
	}
	a, err := o.i.m.names.address(host)
	if err != nil {
		o.i.m.log.Error("giving a name an address", "err", err)
		reply.Rcode = dns.RcodeServerFailure
		return
	}
	reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
}

// look decides about a name.
func (o *outbound) look(host string) verdict {
	cfg := &o.i.m.cfg
	switch {
	case !validHost(host):
		return unknown
	case host == "localhost" || strings.HasSuffix(host, ".localhost") || host == o.i.spec.Hostname:
		return exists
	case cfg.Internal != nil && cfg.Internal(o.i, host):
		return exists
	case slices.ContainsFunc(cfg.Domains, func(d string) bool { return host == d || strings.HasSuffix(host, "."+d) }):
		return unknown
	case !o.policy.name(host):
		return denied
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	_, err := cfg.Resolver.LookupNetIP(ctx, "ip", host)
	var failed *net.DNSError
	switch {
	case err == nil:
		return exists
	case errors.As(err, &failed) && failed.IsNotFound:
		return unknown
	}
	return broken
}

// reverse answers which name an address stands for.
func (o *outbound) reverse(reply *dns.Msg, q dns.Question, host string) {
	octets := strings.Split(strings.TrimSuffix(host, ".in-addr.arpa"), ".")
	slices.Reverse(octets)
	ip := net.ParseIP(strings.Join(octets, "."))
	name := ""
	if a, ok := addrOf(ip); ok {
		name = o.i.m.names.name(a)
	}
	if name == "" {
		reply.Rcode = dns.RcodeNameError
		return
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: answerTTL}
	reply.Answer = append(reply.Answer, &dns.PTR{Hdr: header, Ptr: dns.Fqdn(name)})
}
