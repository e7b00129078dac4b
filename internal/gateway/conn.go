package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// conn is a connection to a client, of which is known whether a request is in progress on it. http.Server knows that too, but its
// Shutdown gives up requests that it has read half, and its clock is that of the request and not that of the socket.
type conn struct {
	net.Conn
	set    *connections
	opaque atomic.Bool // carries TLS: bytes may be on their way through it that nobody sees here
	http2  atomic.Bool // says goodbye by itself
	idle   atomic.Int64
	kept   atomic.Bool // was not wanted by a successor
	parted atomic.Bool // its end was told to the client; nothing that comes after is served
	kicked atomic.Bool // the deadline that ends the read is not the server's
	once   sync.Once
	done   func() // at the end of the connection, if not nil

	mu       sync.Mutex
	deadline time.Time   // for reading, as the server has set it
	outer    net.Conn    // what the server has: the connection itself, or the TLS around it
	passed   atomic.Bool // Conn belongs to somebody else; set with the lock held

	seen    []byte  // the first bytes; of the reader, of which there is one at a time
	records records // where the connection carries TLS; of the reader, too
}

// add makes a connection one of the set.
func (s *connections) add(c *conn) *conn {
	c.set, c.outer = s, c
	c.idle.Store(time.Now().UnixNano())
	s.mu.Lock()
	s.open[c] = struct{}{}
	s.mu.Unlock()
	return c
}

// bufferBytes is the size of the buffer that net/http reads requests into: it asks for as many when the buffer is empty, and for less
// when the beginning of a request is there, which must not be passed on without it. TestPassOn notices when that changes.
const bufferBytes = 4 << 10

// preface is how HTTP/2 begins.
const preface = "PRI"

func (c *conn) Read(p []byte) (int, error) {
	for {
		if c.passed.Load() {
			return 0, io.EOF
		}
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.sniff(p[:n])
			c.busy(p[:n])
		}
		if n > 0 || err == nil || !c.kicked.Load() || !os.IsTimeout(err) {
			return n, err
		}
		c.kicked.Store(false)
		if c.idle.Load() != 0 && (c.opaque.Load() || len(p) == bufferBytes || len(c.seen) == 0) && c.leave() {
			return 0, io.EOF
		}
		c.resume()
	}
}

// busy notes that something is in progress: part of a request has come, or a step of the handshake that goes before all requests, which
// a client that asks nothing is waited for no longer than without TLS.
func (c *conn) busy(p []byte) {
	if c.opaque.Load() && !c.records.asks(p) {
		c.idle.Store(time.Now().UnixNano())
		return
	}
	c.idle.Store(0)
}

// sniff notes HTTP/2 without TLS by the first bytes.
func (c *conn) sniff(p []byte) {
	if len(c.seen) == len(preface) {
		return
	}
	c.seen = append(c.seen, p[:min(len(p), len(preface)-len(c.seen))]...)
	if !c.opaque.Load() && string(c.seen) == preface {
		c.http2.Store(true)
	}
}

// leave gives the connection, on which nothing is in progress, to a successor or ends it; false if a request has come meanwhile. It
// is called by the reader, so that no byte can be read beside it.
func (c *conn) leave() bool {
	if c.set.passOn != nil && !c.opaque.Load() && !c.kept.Load() {
		c.own(false)
		if c.set.passOn(c.Conn) {
			return true
		}
		c.own(true)
		c.kept.Store(true)
	}
	if !c.set.late(c) || !quiet(c.Conn) {
		return false
	}
	c.part() // no sooner known to be quiet than told
	return true
}

// partTime is how long a client may take to close its side after it was told of the end.
const partTime = 500 * time.Millisecond

// part tells the client of the end and waits for its own. What is closed in one go while a request is on its way is reset: the client
// learns of an error, perhaps before it has read the last answer. This way it reads an orderly end, by which programs know that what
// they have sent was not read, and may be sent again.
func (c *conn) part() {
	c.mu.Lock()
	outer := c.outer
	c.parted.Store(true)
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.set.partTime)) // a dead connection tells by the next read
	c.mu.Unlock()
	if t, ok := outer.(*insideConn); ok && t.tls != nil {
		outer = t.tls
	}
	if t, ok := outer.(*tls.Conn); ok {
		_ = t.CloseWrite() // fails in the midst of a handshake: then there is nothing to tell
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	_ = c.Close()
}

// own says whether Conn may still be touched. Whoever gets it gets it without deadlines.
func (c *conn) own(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed.Store(!yes)
	_ = c.Conn.SetDeadline(time.Time{}) // a dead connection tells by the next read
}

// kick has the reader decide whether the connection may go.
func (c *conn) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.passed.Load() && !c.parted.Load() {
		c.kicked.Store(true)
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // as above
	}
}

// resume lets the reader wait again.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.Conn.SetReadDeadline(c.deadline) // as above
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.passed.Load() {
		return net.ErrClosed
	}
	if c.parted.Load() {
		return nil // it has one of its own
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed.Load() {
		return net.ErrClosed
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetWriteDeadline(t), c.SetReadDeadline(t))
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.set.remove(c, c.parted.Load())
		if c.done != nil {
			c.done()
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passed.Load() {
		return nil
	}
	return c.Conn.Close()
}

// quiet says that nothing has arrived that was not read.
func quiet(nc net.Conn) bool {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	_ = raw.Control(func(fd uintptr) { // fails when the connection is closed: n is 0 then
		n, _, _ = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return n <= 0
}

// connections are those of one server that are open and were not upgraded.
type connections struct {
	mu   sync.Mutex
	open map[*conn]struct{}
	left time.Time // when the last one went by itself

	// Set before the end begins, and unchanged from then on.
	linger   time.Duration
	passOn   func(net.Conn) bool // nil: nobody takes connections
	partTime time.Duration       // of a client that was told of the end
}

func (s *connections) remove(c *conn, sent bool) {
	s.mu.Lock()
	delete(s.open, c)
	if !sent {
		s.left = time.Now()
	}
	s.mu.Unlock()
}

// note follows the states of connections; it is a http.Server's ConnState.
func (s *connections) note(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateNew:
		c.mu.Lock()
		c.outer = nc
		c.mu.Unlock()
	case http.StateActive:
		c.idle.Store(0)
	case http.StateIdle:
		c.idle.Store(time.Now().UnixNano())
	case http.StateHijacked:
		s.remove(c, false)
	}
	if t, ok := nc.(*tls.Conn); ok && state == http.StateActive && !c.http2.Load() && t.ConnectionState().NegotiatedProtocol == "h2" {
		c.http2.Store(true)
	}
}

func connOf(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	switch c := nc.(type) {
	case *conn:
		return c
	case *insideConn:
		return c.conn
	}
	return nil
}

// late says that a connection was idle for so long that its client can be expected to know of the end: it, and those that went
// before it. On a machine that has too much to do, they may have a request on its way.
func (s *connections) late(c *conn) bool {
	s.mu.Lock()
	since := s.left
	s.mu.Unlock()
	if idle := time.Unix(0, c.idle.Load()); idle.After(since) {
		since = idle
	}
	return time.Since(since) >= s.linger
}

// sweep lets those go that may, and says whether all have gone that do not end by themselves.
func (s *connections) sweep() (done bool) {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.open))
	for c := range s.open {
		if !c.http2.Load() {
			all = append(all, c)
		}
	}
	s.mu.Unlock()
	for _, c := range all {
		mayPass := s.passOn != nil && !c.opaque.Load() && !c.kept.Load()
		if c.idle.Load() != 0 && (mayPass || s.late(c)) {
			c.kick()
		}
	}
	return len(all) == 0
}
