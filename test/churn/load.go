package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// requestTime bounds one request, its wait for a daemon that is away included.
const requestTime = time.Minute

// load sends requests on a number of connections, each as fast as the answers come. It sends nothing twice: whatever breaks is counted
// as lost. Only where the server has asked for a new connection, with Connection: close, does it open one.
type load struct {
	addr, host, body string
	connections      int

	sent   atomic.Int64
	mu     sync.Mutex
	waits  []time.Duration
	failed []error
}

func newLoad(h *host, connections int) *load {
	return &load{addr: h.Info.Gateway, host: service + ".default." + h.Info.Domain, body: "Hello World!\n", connections: connections}
}

// idlers is how many clients keep a connection open on which they ask only now and then, as a browser or another service does: it has
// nothing to do when the daemon restarts, and is not told that it ends.
const idlers = 16

// run sends requests until done says that it is enough.
func (l *load) run(ctx context.Context, done func(sent int64) bool) {
	var clients sync.WaitGroup
	for range l.connections {
		clients.Go(func() { l.client(ctx, done, 0) })
	}
	for range idlers {
		clients.Go(func() { l.client(ctx, done, 2*time.Second) })
	}
	clients.Wait()
}

// client sends one request after the other, each after a time of its own below pause.
func (l *load) client(ctx context.Context, done func(int64) bool, pause time.Duration) {
	var c *connection
	var waits []time.Duration
	defer func() {
		if c != nil {
			c.Close()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waits = append(l.waits, waits...)
	}()
	for ctx.Err() == nil && !done(l.sent.Add(1)) {
		if pause > 0 {
			select {
			case <-time.After(rand.N(pause)):
			case <-ctx.Done():
			}
		}
		begin := time.Now()
		again, err := l.request(&c)
		waits = append(waits, time.Since(begin))
		if err != nil {
			l.mu.Lock()
			l.failed = append(l.failed, fmt.Errorf("after %v: %w", time.Since(begin).Round(time.Millisecond), err))
			l.mu.Unlock()
		}
		if !again && c != nil {
			c.Close()
			c = nil
		}
	}
}

type connection struct {
	net.Conn
	in *bufio.Reader
}

// request sends one request and says whether the connection may be used again.
func (l *load) request(c **connection) (again bool, err error) {
	if *c == nil {
		conn, err := net.DialTimeout("tcp", l.addr, requestTime)
		if err != nil {
			return false, err
		}
		*c = &connection{conn, bufio.NewReader(conn)}
	}
	if err := (*c).SetDeadline(time.Now().Add(requestTime)); err != nil {
		return false, err
	}
	// A POST with a body: nobody on the way may send it a second time.
	_, err = fmt.Fprintf(*c, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\n\r\nbody", l.host)
	if err != nil {
		return false, fmt.Errorf("sending: %w", err)
	}
	res, err := http.ReadResponse((*c).in, nil)
	if err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK || string(data) != l.body {
		return false, fmt.Errorf("answer %s %q", res.Status, data)
	}
	return !res.Close, nil
}

// result says how a load went.
func (l *load) result() (requests int, p50, p99, most time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.waits)
	n := len(l.waits)
	if n == 0 {
		return 0, 0, 0, 0, errors.New("no request was sent")
	}
	return n, l.waits[n/2], l.waits[n*99/100], l.waits[n-1], errors.Join(l.failed[:min(len(l.failed), 20)]...)
}
