package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// wire is the way to an instance that speaks HTTP/1.1, on connections that have no goroutines: the request is written and the answer is
// read by whoever sends it. Only the body of a request is sent by a goroutine of its own, for the answer may begin before it has ended. What
// is unusual takes the way of net/http.
type wire struct {
	dial    func(context.Context) (net.Conn, error)
	odd     standard
	buffers buffers // that bodies are sent through

	mu     sync.Mutex
	idle   []*wireConn // the one that was used last is last
	expiry *time.Timer // nil until a connection was idle
	armed  bool        // expiry is on its way
	closed bool
}

// unusual says that a request is left to net/http: one that may turn into another protocol or waits for permission to send its body, and one
// of which only a look into its body tells whether it has one.
func unusual(r *http.Request) bool {
	if r.Header["Upgrade"] != nil || r.Header["Expect"] != nil || r.Method == http.MethodConnect {
		return true
	}
	if r.Body == nil || r.ContentLength > 0 || len(r.TransferEncoding) > 0 {
		return false
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return false
	}
	return true
}

func (w *wire) send(out *http.Request, by witness) (*http.Response, error) {
	if unusual(out) {
		return w.odd.send(out, by)
	}
	c, err := w.take(out.Context())
	if err != nil {
		return nil, err
	}
	res, err := c.send(out, by)
	if err == nil || !c.stale(out) {
		return res, err
	}
	if c, err = w.open(out.Context()); err != nil {
		return nil, err
	}
	return c.send(out, by)
}

// take gives an idle connection on which nothing has come and that is not closed, or else a new one.
func (w *wire) take(ctx context.Context) (*wireConn, error) {
	for {
		c := w.pop()
		if c == nil {
			return w.open(ctx)
		}
		if c.silent() {
			return c, nil
		}
		c.nc.Close()
	}
}

func (w *wire) pop() *wireConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.idle) - 1
	if n < 0 {
		return nil
	}
	c := w.idle[n]
	w.idle[n] = nil
	w.idle = w.idle[:n]
	return c
}

func (w *wire) open(ctx context.Context) (*wireConn, error) {
	nc, err := w.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newWireConn(w, nc), nil
}

// keep makes a connection idle, or closes it when there are enough.
func (w *wire) keep(c *wireConn) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= maxIdle {
		c.nc.Close()
		return
	}
	c.rest(now)
	w.idle = append(w.idle, c)
	if w.armed {
		return
	}
	w.armed = true
	if w.expiry == nil {
		w.expiry = time.AfterFunc(idleConnTimeout, w.expire)
	} else {
		w.expiry.Reset(idleConnTimeout)
	}
}

// expire closes the connections that have been idle for too long: one timer for all, which is not touched when one is used.
func (w *wire) expire() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.idle) && now.Sub(w.idle[n].since) >= idleConnTimeout {
		w.idle[n].nc.Close()
		n++
	}
	left := copy(w.idle, w.idle[n:])
	clear(w.idle[left:])
	w.idle = w.idle[:left]
	if w.armed = left > 0; w.armed {
		w.expiry.Reset(idleConnTimeout - now.Sub(w.idle[0].since))
	}
}

func (w *wire) close() {
	w.odd.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, c := range w.idle {
		c.nc.Close()
	}
	w.idle = nil
	if w.expiry != nil {
		w.expiry.Stop()
	}
}
