package gateway

import (
	"net"
	"sync"
	"time"
)

// callerKey is under which the context of a connection from inside has its *Caller.
type callerKey struct{}

var outside = &Caller{}

// ServeInternal takes over a connection that an instance opened and answers the requests on it as the given caller, whom the
// socket on which the call arrived proves. It
// returns as soon as the connection is taken, which is at once while Run runs; when the gateway has ended the connection is closed.
func (g *Gateway) ServeInternal(conn net.Conn, c Caller) {
	c.Internal = true
	_ = conn.SetReadDeadline(time.Now().Add(g.cfg.HeaderTimeout)) // as for connections from outside, see bounded
	g.inside.give(&insideConn{Conn: conn, caller: &c})
}

type insideConn struct {
	net.Conn
	caller *Caller
}

// handover is a listener for connections that were accepted elsewhere.
type handover struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handover) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		c.Close()
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return &net.UnixAddr{Name: "inside", Net: "inside"} }
