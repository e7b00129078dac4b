package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// Limits of what one instance may keep open to the outside.
const (
	maxOutbound = 4096
	dialTime    = 30 * time.Second
)

// outbound receives what one instance sends. Its goroutines end with close.
type outbound struct {
	i       *Instance
	policy  *policy
	wg      sync.WaitGroup
	cancel  context.CancelFunc
	closers []io.Closer
	slots   chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]struct{} // forwarded to the outside
}

// listen begins to receive what the instance sends. A part that cannot be received is logged: the instance is served all the same.
func (l *life) listen() *outbound {
	ctx, cancel := context.WithCancel(context.Background())
	o := &outbound{i: l.i, cancel: cancel, slots: make(chan struct{}, maxOutbound), conns: map[net.Conn]struct{}{}}
	var err error
	if o.policy, err = newPolicy(l.i.spec.Egress); err != nil {
		o.policy = &policy{defaultDeny: true} // Create has checked it: only a record of another version gets here
	}
	s := l.i.sockets
	err = errors.Join(o.acceptTCP(ctx, s.Outbound), o.serveDNS(s.Packet, s.Stream), o.watchRefusals(ctx, s.Namespace))
	if err != nil {
		l.i.m.log.Error("receiving what an instance sends", "instance", l.i.id, "err", err)
	}
	return o
}

func (o *outbound) close() {
	o.cancel()
	for _, c := range o.closers {
		c.Close()
	}
	o.mu.Lock()
	for c := range o.conns {
		c.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	o.wg.Wait()
}

func (o *outbound) acceptTCP(ctx context.Context, f *os.File) error {
	listener, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("listening for connections: %w", err)
	}
	o.closers = append(o.closers, listener)
	if !o.i.accept(listener) {
		return nil
	}
	o.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, or the peer has gone already
				if !wait(ctx, 5*time.Millisecond) {
					return
				}
				continue
			}
			select {
			case o.slots <- struct{}{}:
			default:
				refuse(conn)
				o.count("connection", "too_many")
				continue
			}
			o.wg.Go(func() {
				defer func() { <-o.slots }()
				o.accepted(ctx, conn.(*net.TCPConn))
			})
		}
	})
	return nil
}

func (o *outbound) count(kind, result string) {
	o.i.m.metrics.outbound.WithLabelValues(kind, result).Inc()
}

// refuse ends a connection so that the other side sees a reset, not an end.
func refuse(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	conn.Close()
}

// accepted finds out what a connection was meant for and hands it on.
func (o *outbound) accepted(ctx context.Context, conn *net.TCPConn) {
	to, err := netns.OriginalDst(conn)
	if err != nil {
		o.i.m.log.Warn("a connection of an instance has no destination", "instance", o.i.id, "err", err)
		refuse(conn)
		return
	}
	cfg := &o.i.m.cfg
	host := o.i.m.names.name(to.Addr())
	internal := host != "" && cfg.Internal != nil && cfg.Internal(o.i, host)
	for _, p := range cfg.InternalAddrs {
		internal = internal || (host == "" && p.Contains(to.Addr()))
	}
	if internal {
		if cfg.Outbound == nil {
			refuse(conn)
			return
		}
		o.count("connection", "internal")
		cfg.Outbound(Outbound{Conn: conn, From: o.i, Host: host, Addr: to})
		return
	}
	if err := o.forward(ctx, conn, host, to); err != nil {
		refuse(conn)
		if errors.Is(err, ErrEgressDenied) {
			o.count("connection", "denied")
			o.i.m.log.Info("egress refused", "instance", o.i.id, "host", host, "addr", to.String())
			return
		}
		o.count("connection", "failed")
		o.i.m.log.Debug("egress failed", "instance", o.i.id, "host", host, "addr", to.String(), "err", err)
		return
	}
	o.count("connection", "forwarded")
}

// forward connects to the outside and copies until both sides have ended.
func (o *outbound) forward(ctx context.Context, conn *net.TCPConn, host string, to netip.AddrPort) error {
	target := to.String()
	if host != "" {
		target = net.JoinHostPort(host, strconv.Itoa(int(to.Port())))
	} else if synthetic.Contains(to.Addr()) {
		return fmt.Errorf("%w: %s was never given to a name", ErrEgressDenied, to.Addr())
	}
	out, err := o.dial(ctx, host, target)
	if err != nil {
		return err
	}
	if !o.keep(out, conn) {
		out.Close()
		return net.ErrClosed
	}
	defer o.drop(out, conn)
	o.i.m.log.Debug("egress", "instance", o.i.id, "to", target)
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(conn, out)
		conn.CloseWrite()
	})
	io.Copy(out, conn)
	out.CloseWrite()
	back.Wait()
	return nil
}

// synthetic is where made-up addresses are.
var synthetic = netip.MustParsePrefix("198.18.0.0/15")

// dial connects to the outside if the policy allows the address that the name really has.
func (o *outbound) dial(ctx context.Context, host, target string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	targets := []string{target}
	if host != "" {
		addrs, err := o.i.m.cfg.Resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(target)
		if err != nil {
			return nil, err
		}
		targets = targets[:0]
		for _, a := range addrs {
			targets = append(targets, net.JoinHostPort(a.Unmap().String(), port))
		}
	}
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !o.policy.destination(host, ap.Addr(), ownAddress) {
			return fmt.Errorf("%w: %s", ErrEgressDenied, address)
		}
		return nil
	}}
	var last error
	for _, t := range targets {
		conn, err := d.DialContext(ctx, "tcp", t)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		last = err
	}
	return nil, last
}

// keep notes connections, to be closed with the instance; false if that has ended already.
func (o *outbound) keep(conns ...net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		return false
	}
	for _, c := range conns {
		o.conns[c] = struct{}{}
	}
	return true
}

func (o *outbound) drop(conns ...net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(o.conns, c)
	}
}

// serveDNS answers the name server's port of the instance.
func (o *outbound) serveDNS(packet, stream *os.File) error {
	pc, err := net.FilePacketConn(packet)
	if err != nil {
		return fmt.Errorf("listening for DNS: %w", err)
	}
	listener, err := net.FileListener(stream)
	if err != nil {
		pc.Close()
		return fmt.Errorf("listening for DNS: %w", err)
	}
	handler := dns.HandlerFunc(o.answer)
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: listener, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		o.wg.Go(func() { s.ActivateAndServe() }) // returns when its socket is closed
		<-started
		o.closers = append(o.closers, dnsCloser{s})
	}
	return nil
}

type dnsCloser struct{ s *dns.Server }

func (d dnsCloser) Close() error { return d.s.Shutdown() }

// watchRefusals says in the log which datagrams were refused, each destination once in refusalQuiet.
func (o *outbound) watchRefusals(ctx context.Context, namespace *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	refusals, err := o.i.m.dialer.Refusals(ctx, namespace)
	if err != nil {
		return err
	}
	o.closers = append(o.closers, refusals)
	o.wg.Go(func() {
		told := map[netip.AddrPort]time.Time{}
		for {
			all, err := refusals.Next()
			if err != nil {
				return
			}
			now := time.Now()
			for _, to := range all {
				o.count("datagram", "denied")
				if now.Sub(told[to]) < refusalQuiet {
					continue
				}
				if len(told) >= refusalsKept {
					clear(told)
				}
				told[to] = now
				o.i.m.log.Info("datagram refused: only TCP and DNS leave an instance", "instance", o.i.id, "addr", to.String())
			}
		}
	})
	return nil
}

// How often a refused destination is told, and how many are remembered.
const (
	refusalQuiet = time.Minute
	refusalsKept = 256
)
