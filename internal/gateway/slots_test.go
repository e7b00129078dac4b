package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// check re-checks what must hold of a backend whose lock is held.
func (b *backend) check(t *testing.T, limit int) {
	t.Helper()
	sum, free, now := 0, false, time.Now()
	sound := slices.ContainsFunc(b.instances, func(i *instance) bool { return !now.Before(i.ejected) })
	for _, i := range b.instances {
		if i.gone {
			t.Errorf("%s is gone and takes requests", i.id)
		}
		sum += i.inflight
		if avoided := sound && now.Add(time.Millisecond).Before(i.ejected); !avoided && !recovered(i, now) {
			free = free || limit == 0 || i.inflight < limit
		}
	}
	for _, i := range b.parting {
		if !i.gone || i.inflight == 0 {
			t.Errorf("%s is parting with gone=%v and %d requests", i.id, i.gone, i.inflight)
		}
		sum += i.inflight
	}
	for _, i := range append(b.instances, b.parting...) {
		if i.inflight < 0 || (limit > 0 && i.inflight > limit) {
			t.Errorf("%s has %d requests, the limit is %d", i.id, i.inflight, limit)
		}
	}
	if free && b.room.len > 0 {
		t.Errorf("%d wait while there is a free slot", b.room.len)
	}
	if sum+b.room.len > b.load.current {
		t.Errorf("%d at work and %d waiting, but only %d have entered", sum, b.room.len, b.load.current)
	}
	n := 0
	for w := b.room.head; w != nil; w = w.next {
		if !w.inside || (w.next != nil && w.next.prev != w) {
			t.Error("the room's list is broken")
		}
		n++
	}
	if n != b.room.len {
		t.Errorf("the room counts %d and holds %d", b.room.len, n)
	}
}

// recovered says that an instance was avoided until a moment ago: nobody is told when that ends, the next release looks.
func recovered(i *instance, now time.Time) bool {
	return !i.ejected.IsZero() && !now.Before(i.ejected)
}

func TestSlotInvariants(t *testing.T) {
	for _, limit := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			b := newBackend("b", func(string) {})
			b.setRouted(true)
			b.spec.Store(&Backend{Concurrency: limit, QueueLimit: 50})
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			var served sync.Map // how many requests each instance has now, as seen from outside
			for worker := range 16 {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(1, uint64(worker)))
					for ctx.Err() == nil {
						visit(t, b, rnd, limit, &served)
					}
				})
			}
			rnd := rand.New(rand.NewPCG(2, 2))
			for step := range 2000 {
				var list []Instance
				for n := range rnd.IntN(5) {
					list = append(list, Instance{ID: fmt.Sprint((step/10 + n) % 7)})
				}
				switch rnd.IntN(20) {
				case 0:
					b.fail("no")
				case 1:
					b.drain(fmt.Sprint(rnd.IntN(7)))
				default:
					b.setInstances(list, time.Now())
				}
				b.mu.Lock()
				b.check(t, limit)
				b.mu.Unlock()
			}
			b.setInstances([]Instance{{ID: "last"}}, time.Now())
			cancel()
			all.Wait()
			b.setInstances(nil, time.Now())
			b.setRouted(false)
			if !b.end() {
				t.Errorf("something is left: %+v", b.stats())
			}
		})
	}
}

// visit is one request: it enters, waits for a slot or gives up, is moved elsewhere now and then, and leaves.
func visit(t *testing.T, b *backend, rnd *rand.Rand, limit int, served *sync.Map) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(2000))*time.Microsecond)
	defer cancel()
	i, _ := b.arrive(time.Now())
	var err error
	if i == nil {
		i, _, err = b.acquire(ctx, time.Now(), func(bool) {})
	}
	if err == nil && rnd.IntN(4) == 0 {
		b.release(i, rnd.IntN(2) == 0, time.Now())
		i, _, err = b.acquire(ctx, time.Now(), func(bool) {})
	}
	if err != nil {
		b.leave(nil, time.Now())
		return
	}
	count, _ := served.LoadOrStore(i, &counter{})
	if n := count.(*counter).add(1); limit > 0 && n > limit {
		t.Errorf("%s serves %d at once, the limit is %d", i.id, n, limit)
	}
	count.(*counter).add(-1)
	b.leave(i, time.Now())
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(d int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	return c.n
}

func TestLeastLoadedIsChosen(t *testing.T) {
	b := newBackend("b", func(string) {})
	b.setRouted(true)
	b.setInstances([]Instance{{ID: "a"}, {ID: "b"}, {ID: "c"}}, time.Now())
	counts := map[string]int{}
	var held []*instance
	for range 9 {
		i, _ := b.arrive(time.Now())
		counts[i.id]++
		held = append(held, i)
	}
	for id, n := range counts {
		if n != 3 {
			t.Errorf("%s got %d of 9", id, n)
		}
	}
	b.leave(held[4], time.Now())
	if i, _ := b.arrive(time.Now()); i != held[4] {
		t.Errorf("the next request went to %s, the least loaded is %s", i.id, held[4].id)
	}
}
