package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Instance is one running copy of a backend's program, ready for requests.
type Instance struct {
	// ID is unique among all instances, now and later.
	ID string
	// Dial opens a connection to the port where the program listens. The gateway keeps connections open between requests.
	Dial func(ctx context.Context) (net.Conn, error)
	// Wake, when this instance was started because requests waited, tells how; the gateway adds its part and hands it to Config.OnWake.
	Wake *WakeTrace
}

// instance is what the gateway keeps about an Instance.
type instance struct {
	id   string
	dial func(ctx context.Context) (net.Conn, error)

	once      sync.Once
	transport *http.Transport // made for the first request

	// Guarded by backend.mu.
	inflight int
	upgraded int           // of these, connections that were upgraded: they last until one side has enough
	gone     bool          // not in the list any more: takes no new request
	failures int           // times in a row that it could not be reached
	ejected  time.Time     // until then others are preferred
	drained  chan struct{} // closed when gone and no request is in flight
	settled  bool          // drained is closed
	wake     *WakeTrace
}

const (
	// idleConnTimeout is below the keep-alive time of common servers (Node.js: 5 s), so that the gateway and not the program is
	// the one to close a connection that nobody uses.
	idleConnTimeout = 4 * time.Second

	// dialTimeout is long for a connection on one machine: the program does not accept any.
	dialTimeout = 5 * time.Second

	firstEjection = 50 * time.Millisecond
	longEjection  = 5 * time.Second
)

func newInstance(in Instance) *instance {
	i := &instance{id: in.ID, dial: in.Dial, drained: make(chan struct{})}
	if in.Wake != nil {
		wake := *in.Wake
		i.wake = &wake
	}
	return i
}

// note records whether the instance could be reached; one that could not is avoided for a time that doubles. backend.mu is held.
func (i *instance) note(worked bool, now time.Time) {
	if worked {
		i.failures, i.ejected = 0, time.Time{}
		return
	}
	i.failures++
	i.ejected = now.Add(min(firstEjection<<min(i.failures-1, 10), longEjection))
}

// settle tells those who wait for the instance to be drained, when it is. An upgraded connection holds nobody up: only the program
// can end it well, which it does when it is told to stop. backend.mu is held.
func (i *instance) settle() {
	if i.gone && i.inflight == i.upgraded && !i.settled {
		i.settled = true
		close(i.drained)
	}
}

// close ends the instance's idle connections. backend.mu is held.
func (i *instance) close() {
	i.once.Do(func() {}) // no transport from here on
	if i.transport != nil {
		i.transport.CloseIdleConnections()
	}
}

// roundTripper gives the instance's connections, made for the protocol at the first call.
func (i *instance) roundTripper(protocol Protocol) http.RoundTripper {
	i.once.Do(func() { i.transport = newTransport(i.id, i.dial, protocol) })
	return i.transport
}

func newTransport(id string, dial func(context.Context) (net.Conn, error), protocol Protocol) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			conn, err := dial(ctx)
			if err != nil {
				return nil, &dialError{instance: id, err: err}
			}
			return conn, nil
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        idleConnTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		Protocols:              new(http.Protocols),
	}
	if protocol == H2C {
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// dialError says that no connection to an instance could be made: nothing of the request was sent.
type dialError struct {
	instance string
	err      error
}

func (e *dialError) Error() string {
	return "connecting to instance " + e.instance + ": " + e.err.Error()
}
func (e *dialError) Unwrap() error { return e.err }
