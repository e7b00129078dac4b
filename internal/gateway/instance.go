package gateway

import (
	"context"
	"net"
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

	once sync.Once
	way  way // made for the first request

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
	i.once.Do(func() {}) // no way from here on
	if i.way != nil {
		i.way.close()
	}
}

// wayTo gives the way to the instance, made for the protocol at the first call.
func (i *instance) wayTo(protocol Protocol) way {
	i.once.Do(func() { i.way = newWay(i.id, i.dial, protocol) })
	return i.way
}
