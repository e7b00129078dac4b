package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens the listeners of the configuration.
func (g *Gateway) listen() error {
	lc := net.ListenConfig{KeepAlive: 30 * time.Second}
	if g.cfg.ReusePort {
		lc.Control = reusePort
	}
	open := func(addrs []string, given []net.Listener, kind string) ([]net.Listener, error) {
		out := given
		for _, addr := range addrs {
			l, err := lc.Listen(context.Background(), "tcp", addr)
			if err != nil {
				return out, fmt.Errorf("listening for %s on %s: %w", kind, addr, err)
			}
			out = append(out, l)
		}
		return out, nil
	}
	var errPlain, errSecure error
	g.plain, errPlain = open(g.cfg.HTTP, g.cfg.HTTPListeners, "HTTP")
	g.secure, errSecure = open(g.cfg.HTTPS, g.cfg.HTTPSListeners, "HTTPS")
	if err := errors.Join(errPlain, errSecure); err != nil {
		g.closeListeners()
		return err
	}
	return nil
}

// reusePort lets a successor listen on the same address before this process has closed it.
func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}

func (g *Gateway) closeListeners() {
	for _, l := range g.plain {
		l.Close()
	}
	for _, l := range g.secure {
		l.Close()
	}
}

// Addrs gives the addresses on which HTTP and HTTPS are accepted: those of given listeners first, then in the order of the configuration.
func (g *Gateway) Addrs() (plain, secure []net.Addr) {
	for _, l := range g.plain {
		plain = append(plain, l.Addr())
	}
	for _, l := range g.secure {
		secure = append(secure, l.Addr())
	}
	return plain, secure
}

// Files gives duplicates of the listening sockets, to be handed to a successor that passes them as HTTPListeners and HTTPSListeners.
// As long as one of the processes has a socket open, no connection that waits to be accepted is lost. The caller closes them.
func (g *Gateway) Files() (plain, secure []*os.File, err error) {
	files := func(ls []net.Listener) (out []*os.File) {
		for _, l := range ls {
			f, ok := l.(interface{ File() (*os.File, error) })
			if !ok {
				err = errors.Join(err, fmt.Errorf("the listener on %s has no file", l.Addr()))
				continue
			}
			dup, e := f.File()
			if e != nil {
				err = errors.Join(err, fmt.Errorf("duplicating the listener on %s: %w", l.Addr(), e))
				continue
			}
			out = append(out, dup)
		}
		return out
	}
	return files(g.plain), files(g.secure), err
}

// bounded is a listener that turns connections away beyond a limit shared with others.
type bounded struct {
	net.Listener
	g    *Gateway
	name string // "http" or "https"
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.g.open.Add(1) > int64(b.g.cfg.MaxConnections) {
			b.g.open.Add(-1)
			b.g.turnAway(conn)
			continue
		}
		return b.g.welcome(conn, b.name), nil
	}
}

// turnedEvery is how often the log says that connections are turned away.
const turnedEvery = time.Minute

// turnAway closes a connection that is one too many.
func (g *Gateway) turnAway(conn net.Conn) {
	conn.Close()
	g.metrics.turned.Inc()
	now, said := time.Now().UnixNano(), g.turnedSaid.Load()
	if (said == 0 || now-said >= int64(turnedEvery)) && g.turnedSaid.CompareAndSwap(said, now) {
		g.log.Warn("connections of clients are closed at once, because as many are open as the gateway takes; counted by fairlead_gateway_turned_away_connections_total",
			"connections", g.cfg.MaxConnections, "try", "fewer clients, or a larger --max-connections")
	}
}

// welcome counts a client's connection.
func (g *Gateway) welcome(nc net.Conn, name string) *conn {
	// net/http sets its own deadlines from the first request on, but not while it looks whether HTTP/2 is spoken.
	deadline := time.Now().Add(g.cfg.HeaderTimeout)
	_ = nc.SetReadDeadline(deadline)
	gauge := g.metrics.conns.WithLabelValues(name)
	gauge.Inc()
	c := &conn{Conn: nc, deadline: deadline, done: func() { g.open.Add(-1); gauge.Dec() }}
	c.opaque.Store(name == "https")
	return g.conns.add(c)
}

// ServeConn takes over the connection of a client, over HTTP, that another gateway passed on (Config.PassOn). It returns as soon as
// the connection is taken, which is at once while Run runs; when the gateway has ended the connection is closed.
func (g *Gateway) ServeConn(nc net.Conn) {
	g.open.Add(1)
	g.passed.give(g.welcome(nc, "http"))
}
