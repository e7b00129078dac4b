package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// requestTime bounds one request, its wait for a daemon that is away included.
const requestTime = time.Minute

// load sends requests on a number of connections, each as fast as the answers come. What breaks is counted as lost. Over plain HTTP it
// sends nothing twice, and opens a new connection only where the server has asked for that, with Connection: close.
type load struct {
	addr, host, body string
	connections      int
	// open gives a client, which has a connection of its own.
	open func(*load) requester

	sent, again atomic.Int64 // requests, and those that a client has sent a second time
	mu          sync.Mutex
	waits       []time.Duration
	failed      []error
}

// requester is a client, with one connection at most.
type requester interface {
	request() error
	close()
}

func newLoad(h *host, connections int) *load {
	return &load{
		addr: h.Info.Gateway, host: service + ".default." + h.Info.Domain, body: "Hello World!\n", connections: connections,
		open: kinds["http"],
	}
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
	c := l.open(l)
	var waits []time.Duration
	defer func() {
		c.close()
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
		err := c.request()
		waits = append(waits, time.Since(begin))
		if err != nil {
			l.mu.Lock()
			l.failed = append(l.failed, fmt.Errorf("after %v: %w", time.Since(begin).Round(time.Millisecond), err))
			l.mu.Unlock()
		}
	}
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
