package gateway

import (
	"bytes"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// callerKey is under which the context of a connection from inside has its *Caller.
type callerKey struct{}

var outside = &Caller{}

// ServeInternal takes over a connection that an instance opened and answers the requests on it as the given caller, whom the
// socket on which the call arrived proves. HTTP/1.1, HTTP/2 with prior knowledge and, where the gateway has certificates, HTTP/1.1 over
// TLS are understood, told apart by the first byte. It returns as soon as the connection is taken, which is at once while Run runs; when
// the gateway has ended the connection is closed.
func (g *Gateway) ServeInternal(nc net.Conn, c Caller) {
	c.Internal = true
	g.take(nc, c)
}

// ServePublished is ServeInternal for a connection from outside to an address that leads to one host, whatever host its requests name.
// The instance sees the host that they name, and no redirect sends them to another.
func (g *Gateway) ServePublished(nc net.Conn, host string) {
	g.take(nc, Caller{host: host})
}

func (g *Gateway) take(nc net.Conn, c Caller) {
	deadline := time.Now().Add(g.cfg.HeaderTimeout)
	_ = nc.SetReadDeadline(deadline) // as for connections from outside, see welcome
	g.inside.give(&insideConn{conn: g.connsIn.add(&conn{Conn: nc, deadline: deadline}), caller: &c, certs: g.certs, table: g.routes.Load})
}

// insideConn is a connection that an instance opened.
type insideConn struct {
	*conn
	caller *Caller
	certs  *certificates
	table  func() *routes
	known  bool      // the first byte has been seen
	tls    *tls.Conn // set when it began a TLS handshake
}

// Read finds out at the first call whether TLS is spoken. The server has one reader at a time, and writes only after a first read.
func (c *insideConn) Read(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Read(p)
	}
	n, err := c.conn.Read(p)
	if c.known || n == 0 {
		return n, err
	}
	c.known = true
	if p[0] != recordHandshake || c.certs == nil {
		return n, err
	}
	begun := &begunConn{Conn: c.conn, first: bytes.Clone(p[:n])}
	c.tls = tls.Server(begun, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certs.get(hello, c.table()) },
	})
	c.caller.secure = true
	c.opaque.Store(true) // from here on c.tls is the way to close it
	c.busy(begun.first)
	return c.tls.Read(p)
}

func (c *insideConn) Write(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.conn.Write(p)
}

func (c *insideConn) Close() error {
	if c.tls != nil {
		return c.tls.Close()
	}
	return c.conn.Close()
}

// begunConn gives bytes that were read already before those to come.
type begunConn struct {
	net.Conn
	first []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
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
