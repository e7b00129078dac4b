package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const defaultQueueLimit = 10_000

// errMoved ends the wait of a request whose backend no route names any more and which has no instances: it chooses again.
var errMoved = errors.New("the traffic was moved elsewhere")

// errRoomFull is the answer to a request that found as many waiting as the backend allows.
var errRoomFull = errors.New("too many requests are waiting for an instance")

// failedError ends the wait of all requests in a room with the reason given to SetFailed.
type failedError struct{ reason string }

func (e *failedError) Error() string { return e.reason }

// backend is the state behind one Backend: its instances, their slots and the waiting room.
type backend struct {
	name   string
	wakeUp func(backend string)    // never nil
	spec   atomic.Pointer[Backend] // nil until a table names the backend

	series   sync.Map // of caller names to their *series
	duration atomic.Pointer[prometheus.Observer]

	mu        sync.Mutex
	instances []*instance // those that take requests
	ended     bool        // forgotten by the gateway
	unrouted  bool        // no rule of the table in force sends traffic here
	room      room
	load      meter
	next      int         // where the search for the least loaded starts, so that equals take turns
	asked     time.Time   // when the room was first joined with no instance there
	parting   []*instance // gone from the list, with requests still
}

func newBackend(name string, wakeUp func(string)) *backend {
	return &backend{name: name, wakeUp: wakeUp, unrouted: true}
}

func (b *backend) concurrency() int {
	if spec := b.spec.Load(); spec != nil {
		return spec.Concurrency
	}
	return 0
}

func (b *backend) queueLimit() int {
	if spec := b.spec.Load(); spec != nil && spec.QueueLimit > 0 {
		return spec.QueueLimit
	}
	return defaultQueueLimit
}

// arrive counts a request of this backend, leave must follow, and takes a slot if one is free and nobody waits. It says no, and does
// nothing, where the request must choose again: instances are taken away after the traffic is, and a request that was late must not
// wait for one that will not come back.
func (b *backend) arrive(now time.Time) (i *instance, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deserted() {
		return nil, false
	}
	b.load.enter(now)
	if b.room.len == 0 {
		if i = b.pick(now); i != nil {
			i.inflight++
		}
	}
	return i, true
}

// begin counts a request that needs no slot; leave must follow.
func (b *backend) begin(now time.Time) {
	b.mu.Lock()
	b.load.enter(now)
	b.mu.Unlock()
}

// leave gives up the slot on i, if i is not nil, and counts the request out.
func (b *backend) leave(i *instance, now time.Time) {
	b.mu.Lock()
	b.load.leave(now)
	b.giveBack(i, now)
	b.mu.Unlock()
}

// release gives up the slot on i of a request that goes on, to be sent elsewhere; worked says whether the instance could be reached.
func (b *backend) release(i *instance, worked bool, now time.Time) {
	b.mu.Lock()
	i.note(worked, now)
	if avoided := i.ejected.Sub(now); avoided > 0 {
		time.AfterFunc(avoided, b.look) // its slots are free again then
	}
	b.giveBack(i, now)
	b.mu.Unlock()
}

// look hands out the slots that have become free by the passing of time.
func (b *backend) look() {
	b.mu.Lock()
	b.dispatch(time.Now())
	b.mu.Unlock()
}

// acquire takes a slot: at once where one is free and nobody waits, otherwise in turn, after a call of joining. It gives the time the
// request joined the room, zero if it did not.
func (b *backend) acquire(ctx context.Context, now time.Time, joining func(cold bool)) (*instance, time.Time, error) {
	b.mu.Lock()
	if b.room.len == 0 {
		if i := b.pick(now); i != nil {
			i.inflight++
			b.mu.Unlock()
			return i, time.Time{}, nil
		}
	}
	if b.deserted() {
		b.mu.Unlock()
		return nil, time.Time{}, errMoved
	}
	if b.room.len >= b.queueLimit() {
		b.mu.Unlock()
		return nil, time.Time{}, errRoomFull
	}
	w := &waiter{granted: make(chan grant, 1)}
	b.room.push(w)
	first, cold := b.room.len == 1, len(b.instances) == 0
	if first && cold {
		b.asked = now
	}
	b.mu.Unlock()
	if first {
		b.wakeUp(b.name)
	}
	joining(cold)
	return b.wait(ctx, w, now)
}

func (b *backend) wait(ctx context.Context, w *waiter, joined time.Time) (*instance, time.Time, error) {
	select {
	case g := <-w.granted:
		return g.instance, joined, g.err
	case <-ctx.Done():
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room.remove(w) {
		return nil, joined, context.Cause(ctx)
	}
	if g := <-w.granted; g.instance != nil { // granted in the same moment
		b.giveBack(g.instance, now)
	}
	return nil, joined, context.Cause(ctx)
}

// pick gives the live instance with the fewest requests that may take one more; those that could not be reached lately are
// taken only when there is no other at all.
func (b *backend) pick(now time.Time) *instance {
	n, limit := len(b.instances), b.concurrency()
	var best, outcast *instance
	sound := false
	for k := range n {
		i := b.instances[(b.next+k)%n]
		out := now.Before(i.ejected)
		sound = sound || !out
		if limit > 0 && i.inflight >= limit {
			continue
		}
		switch {
		case out:
			if outcast == nil || i.inflight < outcast.inflight {
				outcast = i
			}
		case best == nil || i.inflight < best.inflight:
			best = i
		}
	}
	if n > 1 {
		b.next = (b.next + 1) % n
	}
	if best == nil && !sound {
		return outcast
	}
	return best
}

// lasts notes that one of the instance's requests has become a connection, or (by -1) that such a connection is about to end.
func (b *backend) lasts(i *instance, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.upgraded += by
	i.settle()
}

// giveBack frees a slot and hands the free slots to those who wait. b.mu is held.
func (b *backend) giveBack(i *instance, now time.Time) {
	if i != nil {
		i.inflight--
		i.settle()
		if i.gone && i.inflight == 0 {
			b.parting = slices.DeleteFunc(b.parting, func(p *instance) bool { return p == i })
			i.close()
		}
	}
	b.dispatch(now)
}

// dispatch lets requests out of the room as long as there are slots. b.mu is held.
func (b *backend) dispatch(now time.Time) {
	for b.room.len > 0 {
		i := b.pick(now)
		if i == nil {
			return
		}
		i.inflight++
		if i.wake != nil && i.wake.Released.IsZero() {
			i.wake.Released = now
		}
		b.room.pop().granted <- grant{instance: i}
	}
}

// setInstances makes the list the live instances. Those that left it finish what they have. It says no when the backend has ended.
func (b *backend) setInstances(list []Instance, now time.Time) bool {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return len(list) == 0
	}
	old := make(map[string]*instance, len(b.instances))
	for _, i := range b.instances {
		old[i.id] = i
	}
	next := make([]*instance, 0, len(list))
	for _, in := range list {
		i := old[in.ID]
		if i == nil {
			i = newInstance(in)
			b.adoptWake(i)
		}
		delete(old, in.ID)
		next = append(next, i)
	}
	b.instances = next
	b.next = 0
	for _, i := range old {
		b.retire(i)
	}
	b.dispatch(now)
	b.evict()
	orphans := b.room.len > 0 && len(b.instances) == 0
	if orphans && b.asked.IsZero() {
		b.asked = now
	}
	b.mu.Unlock()
	if orphans {
		b.wakeUp(b.name)
	}
	return true
}

// setRouted says whether a rule of the table in force sends traffic here.
func (b *backend) setRouted(routed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unrouted = !routed
	b.evict()
}

// deserted says that nothing will come here: no traffic and no instances. b.mu is held.
func (b *backend) deserted() bool { return b.unrouted && len(b.instances) == 0 }

// evict sends those who wait for a deserted backend elsewhere. b.mu is held.
func (b *backend) evict() {
	for b.deserted() && b.room.len > 0 {
		b.room.pop().granted <- grant{err: errMoved}
	}
}

// adoptWake completes the trace of a new instance with what the gateway knows. b.mu is held.
func (b *backend) adoptWake(i *instance) {
	if i.wake != nil {
		i.wake.Backend, i.wake.Instance = b.name, i.id
		i.wake.Asked = b.asked
	}
	b.asked = time.Time{}
}

// retire marks an instance that left the list. b.mu is held.
func (b *backend) retire(i *instance) {
	i.gone = true
	i.settle()
	if i.inflight == 0 {
		i.close()
		return
	}
	b.parting = append(b.parting, i)
}

// drain takes the instance out and gives a channel that is closed when its last request has ended.
func (b *backend) drain(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, i := range b.instances {
		if i.id == id {
			b.instances = slices.Delete(slices.Clone(b.instances), n, n+1)
			b.retire(i)
			b.dispatch(time.Now()) // an instance that was avoided may be the only one now
			b.evict()
			return i.drained
		}
	}
	for _, i := range b.parting {
		if i.id == id {
			return i.drained
		}
	}
	done := make(chan struct{})
	close(done)
	return done
}

// fail ends the wait of everybody in the room.
func (b *backend) fail(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.room.len > 0 {
		b.room.pop().granted <- grant{err: &failedError{reason: reason}}
	}
	b.asked = time.Time{}
}

// firstByte notes that an instance answered a request that had waited for it, and gives the trace of its wake: whole is true for
// the first answer only.
func (b *backend) firstByte(i *instance, now time.Time) (trace WakeTrace, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i.wake == nil {
		return WakeTrace{}, false
	}
	if i.wake.FirstByte.IsZero() {
		i.wake.FirstByte, whole = now, true
	}
	return *i.wake, whole
}

// end says that nothing would be lost with this backend, which takes no instances from then on.
func (b *backend) end() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = b.unrouted && len(b.instances) == 0 && len(b.parting) == 0 && b.load.current == 0
	return b.ended
}

// sample gives the load since the last sample.
func (b *backend) sample(now time.Time) Sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.load.sample(now)
	s.Waiting = b.room.len
	s.Instances = len(b.instances)
	return s
}

func (b *backend) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Backend: b.name, Requests: b.load.total, InFlight: b.load.current - b.room.len, Waiting: b.room.len, LastRequest: b.load.seen}
	for _, i := range b.instances {
		s.Instances = append(s.Instances, InstanceStats{ID: i.id, InFlight: i.inflight, Ejected: i.ejected})
	}
	for _, i := range b.parting {
		s.Instances = append(s.Instances, InstanceStats{ID: i.id, InFlight: i.inflight, Draining: true})
	}
	return s
}

// now counts the requests that instances have, those that wait, and the instances.
func (b *backend) now() (inflight, waiting, ready int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.load.current - b.room.len, b.room.len, len(b.instances)
}
