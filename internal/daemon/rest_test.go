package daemon

import "testing"

func TestCollectsOnlyAtRest(t *testing.T) {
	const mb = 1 << 20
	var r resting
	for i, step := range []struct {
		use  heapUse
		want bool
	}{
		{heapUse{allocated: 500 * mb, live: 100 * mb, held: 190 * mb}, false},             // busy
		{heapUse{allocated: 510 * mb, live: 100 * mb, held: 190 * mb}, true},              // at rest, with garbage
		{heapUse{allocated: 511 * mb, live: 95 * mb, held: 150 * mb}, false},              // just done
		{heapUse{allocated: 526 * mb, live: 95 * mb, held: 150 * mb}, false},              // too little since
		{heapUse{allocated: 540 * mb, live: 95 * mb, held: 150 * mb}, true},               // a good deal, slowly
		{heapUse{allocated: 600 * mb, live: 95 * mb, held: 150 * mb}, false},              // busy
		{heapUse{allocated: 601 * mb, live: 95 * mb, held: 95*mb + restWorth - 1}, false}, // nothing to gain
	} {
		if got := r.look(step.use); got != step.want {
			t.Errorf("step %d: %v: collects %t, want %t", i, step.use, got, step.want)
		}
	}
}

func TestReadHeap(t *testing.T) {
	before := readHeap()
	kept := make([]byte, 8<<20)
	after := readHeap()
	if grown := after.allocated - before.allocated; grown < uint64(len(kept)) {
		t.Errorf("allocated 8 MB more: counted %d bytes", grown)
	}
	if after.held < uint64(len(kept)) {
		t.Errorf("held %d bytes, less than one slice", after.held)
	}
}

func TestHeapGrowsInBursts(t *testing.T) {
	const mb = 1 << 20
	p := pacing{percent: gcPercent}
	use := heapUse{live: 100 * mb}
	step := func(allocated uint64) int {
		use.allocated += allocated
		return p.look(use)
	}
	if got := step(10 * mb); got != gcPercent {
		t.Errorf("at rest: %d, want %d", got, gcPercent)
	}
	if got, want := step(60*mb), 192; got != want {
		t.Errorf("in a burst: %d, want %d", got, want)
	}
	use.live = 800 * mb
	if got := step(600 * mb); got != gcPercent {
		t.Errorf("in a burst with a large heap: %d, want %d", got, gcPercent)
	}
	use.live = 100 * mb
	if got, want := step(60*mb), 192; got != want {
		t.Errorf("in a burst again: %d, want %d", got, want)
	}
	for n := range int(restEvery/paceEvery) - 1 {
		if got, want := step(mb), 192; got != want {
			t.Fatalf("quiet for %d s: %d, want %d: bursts have pauses", n+1, got, want)
		}
	}
	if got := step(mb); got != gcPercent {
		t.Errorf("after the burst: %d, want %d", got, gcPercent)
	}
}
