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
	expect := func(when string, allocated uint64, times, want int) {
		t.Helper()
		for n := range times {
			use.allocated += allocated
			if got := p.look(use); got != want {
				t.Fatalf("%s, after %d times %d MB: %d, want %d", when, n+1, allocated/mb, got, want)
			}
		}
	}
	const moderate, heavy = 10 * mb, 60 * mb
	expect("work right after the start", moderate, 2*paceCalm, gcPercent)
	expect("in a burst", heavy, 1, 192)
	use.live = 800 * mb
	expect("in a burst with a large heap", 600*mb, 1, gcPercent)
	use.live = 100 * mb
	expect("in a burst again", heavy, 1, 192)
	expect("in a pause of the burst", moderate, paceCalm-1, 192)
	expect("when it is over", moderate, 1, gcPercent)
	expect("not yet at rest", mb, paceCalm-1, gcPercent)
	expect("at rest", mb, 3*paceCalm, 192)
	expect("in what comes first after the rest", moderate, paceCalm-1, 192)
	expect("when that goes on", moderate, 1, gcPercent)
	expect("not yet at rest again", mb, paceCalm-1, gcPercent)
	expect("at work before it rested", moderate, 1, gcPercent)
	expect("not yet at rest after that", mb, paceCalm-1, gcPercent)
}
