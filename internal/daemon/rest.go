package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restEvery is how often it is looked whether the daemon came to rest.
	restEvery = 10 * time.Second
	// restRate is how many bytes a daemon at rest allocates at most in that time.
	restRate = 16 << 20
	// restWorth is how many bytes have to be gained for a collection at rest to be worth its time.
	restWorth = 24 << 20
)

// heapUse is what Go's runtime tells of its heap, in bytes.
type heapUse struct {
	// allocated counts everything since the start; live is what the last collection left alive; held is what objects, dead ones too, and free
	// pages not yet given back take.
	allocated, live, held uint64
}

func readHeap() heapUse {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return heapUse{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}

// resting decides when a collection gives memory back to the machine that nothing will use soon.
type resting struct {
	last heapUse
	// after is the allocation count at the last collection of ours; until a good deal was allocated since, another gains nothing.
	after uint64
}

// look says whether to collect now, given what the heap is.
func (r *resting) look(now heapUse) bool {
	quiet := now.allocated-r.last.allocated < restRate
	r.last = now
	if !quiet || now.allocated-r.after < restWorth || now.held < now.live+restWorth {
		return false
	}
	r.after = now.allocated
	return true
}

// giveBack collects when the daemon has come to rest after work: Go's own collector lets garbage of a burst lie for as
// long as nothing new is allocated, which on a machine that is shared with the user's code costs more than one collection.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	r := resting{last: readHeap()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if r.look(readHeap()) {
				debug.FreeOSMemory()
			}
		}
	}
}
