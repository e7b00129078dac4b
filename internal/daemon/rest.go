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

// burstBytes is how much the heap may grow before a collection in a burst, and in what comes first after a rest.
const burstBytes = 192 << 20

// paceEvery is how often it is looked how much is allocated.
const paceEvery = time.Second

// pacing decides how far the heap may grow between two collections. A heap that is kept small all the time is paid for with a third of the
// processor time of a burst, such as a thousand services applied at once; so a burst may have memory for as long as it lasts. And a daemon at
// rest, whose heap giveBack keeps small anyway, may have as much for what comes first: a request that wakes a service does not meet a collection.
// Only work that goes on moderately has its garbage collected sooner.
type pacing struct {
	allocated uint64
	percent   int // in force
	resting   int // times in a row that hardly anything was allocated
	moderate  int // times in a row that gcPercent would have done
}

// paceCalm is for how many looks in a row something has to be so until it counts.
const paceCalm = int(restEvery / paceEvery)

// look gives the percentage that Go's collector should have, given what the heap is.
func (p *pacing) look(now heapUse) int {
	since := now.allocated - p.allocated
	p.allocated = now.allocated
	burst := max(gcPercent, int(burstBytes*100/max(now.live, 1<<20)))
	switch {
	case since >= now.live*gcPercent/100: // a collection and more in this time
		p.resting, p.moderate, p.percent = 0, 0, burst
	case since < restRate/uint64(paceCalm):
		if p.resting++; p.resting >= paceCalm {
			p.moderate, p.percent = 0, burst
		}
	default:
		p.resting = 0
		if p.moderate++; p.moderate >= paceCalm {
			p.percent = gcPercent
		}
	}
	return p.percent
}

// pace lets the heap grow in bursts, until ctx ends.
func pace(ctx context.Context) {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	p := pacing{allocated: readHeap().allocated, percent: gcPercent}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if before := p.percent; p.look(readHeap()) != before {
				debug.SetGCPercent(p.percent)
			}
		}
	}
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
