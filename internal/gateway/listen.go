package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
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
			b.g.metrics.turned.Inc()
			conn.Close()
			continue
		}
		// net/http sets its own deadlines from the first request on, but not while it looks whether HTTP/2 is spoken.
		_ = conn.SetReadDeadline(time.Now().Add(b.g.cfg.HeaderTimeout))
		gauge := b.g.metrics.conns.WithLabelValues(b.name)
		gauge.Inc()
		return &countedConn{Conn: conn, done: func() { b.g.open.Add(-1); gauge.Dec() }}, nil
	}
}

// countedConn counts itself out when it is closed.
type countedConn struct {
	net.Conn
	once sync.Once
	done func()
	used atomic.Bool // has carried a request
}

func (c *countedConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}

func (c *countedConn) begun() *atomic.Bool { return &c.used }

// tracked is a connection of which is noted whether a request has come on it.
type tracked interface {
	net.Conn
	begun() *atomic.Bool
}

// fresh are the connections that no request has come on. http.Server.Shutdown would wait five seconds for them.
type fresh struct {
	mu    sync.Mutex
	conns map[tracked]struct{}
}

// note follows the states of connections; it is a http.Server's ConnState.
func (f *fresh) note(conn net.Conn, state http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(tracked)
	if !ok || c.begun().Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if state == http.StateNew {
		f.conns[c] = struct{}{}
		return
	}
	c.begun().Store(true)
	delete(f.conns, c)
}

// close ends the connections, from instances or from outside, that are still unused.
func (f *fresh) close(inside bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if _, in := c.(*insideConn); in == inside {
			_ = c.Close()
		}
	}
}
