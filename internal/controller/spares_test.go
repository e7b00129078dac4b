package controller

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSparesFor(t *testing.T) {
	for _, c := range []struct{ memory, want int64 }{{512 << 20, 16}, {2 << 30, 51}, {24 << 30, 256}} {
		if got := sparesFor(c.memory); int64(got) != c.want {
			t.Errorf("%d MB of memory: %d spares, want %d", c.memory>>20, got, c.want)
		}
	}
}

// pool is a sparePool with claims that do at once what they are kicked for, but for the making, which the test ends.
type poolBench struct {
	*sparePool
	claims map[string]*spareClaim
	used   map[string]time.Time
}

func newPoolBench(most int, names ...string) *poolBench {
	b := &poolBench{sparePool: newSparePool(most, time.Now), claims: map[string]*spareClaim{}, used: map[string]time.Time{}}
	for _, name := range names {
		b.claims[name] = &spareClaim{kick: make(chan struct{}, 1)}
	}
	return b
}

// ask asks for a claim again, as its scaler does in each step.
func (b *poolBench) ask(name string) bool { return b.sparePool.ask(b.claims[name], b.used[name]) }

func (b *poolBench) expect(t *testing.T, want map[string]claimState) {
	t.Helper()
	for name, state := range want {
		if got := b.claims[name].state; got != state {
			t.Errorf("%s: state %d, want %d", name, got, state)
		}
	}
	held, making, waiting := 0, 0, 0
	for _, c := range b.claims {
		switch c.state {
		case claimGranted, claimRevoked:
			held++
		case claimWaiting:
			waiting++
		}
		if c.making {
			making++
		}
	}
	if held != len(b.held) || held > b.most || making != b.making || waiting != len(b.waiting) {
		t.Errorf("held %d of %d, making %d, waiting %d; the claims say %d, %d, %d", len(b.held), b.most, b.making, len(b.waiting), held, making, waiting)
	}
}

// TestSparesGoToTheMostRecentlyUsed holds that no more spares are granted than may be, few at a time, and that one that was used more
// recently takes the place of the one that was not used for longest.
func TestSparesGoToTheMostRecentlyUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPoolBench(3, "a", "b", "c", "d")
		for i, name := range []string{"a", "b", "c", "d"} {
			b.used[name] = time.Now().Add(time.Duration(i) * time.Second)
		}
		b.used["d"] = time.Time{} // never used
		if !b.ask("a") || !b.ask("b") || b.ask("c") || b.ask("d") {
			t.Fatal("two may be made at once, the others wait")
		}
		b.made(b.claims["a"])
		b.expect(t, map[string]claimState{"a": claimGranted, "b": claimGranted, "c": claimGranted, "d": claimWaiting})
		b.made(b.claims["b"])
		b.made(b.claims["c"])
		b.expect(t, map[string]claimState{"d": claimWaiting}) // it takes nobody's place
		time.Sleep(time.Minute)
		b.used["d"] = time.Now()
		if b.ask("d") {
			t.Error("granted above the limit")
		}
		b.expect(t, map[string]claimState{"a": claimRevoked, "b": claimGranted, "c": claimGranted, "d": claimWaiting})
		if b.hold(b.claims["a"], b.used["a"]) {
			t.Error("a revoked spare may stay")
		}
		if b.ask("a") { // its scaler has sent the spare away
			t.Error("granted again at once")
		}
		b.expect(t, map[string]claimState{"a": claimWaiting, "d": claimGranted})
		b.drop(b.claims["b"]) // woken
		b.expect(t, map[string]claimState{"a": claimGranted, "b": claimNone, "c": claimGranted, "d": claimGranted})
		for _, c := range b.claims {
			b.drop(c)
		}
		if held, waiting := b.numbers(); held+waiting+b.making != 0 {
			t.Errorf("held %d, waiting %d, making %d after all are gone", held, waiting, b.making)
		}
	})
}

// TestSparesWaitForRequests holds that spares are made slowly as long as requests wait for an instance, and at once after that.
func TestSparesWaitForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPoolBench(10, "urgent", "a", "b", "c", "d")
		b.hurry(b.claims["urgent"], true)
		for _, name := range []string{"a", "b", "c", "d"} {
			if b.ask(name) {
				t.Fatalf("%s: granted while a request waits", name)
			}
		}
		for want := range 2 {
			time.Sleep(refillSlowly)
			synctest.Wait()
			if held, _ := b.numbers(); held != want+1 {
				t.Errorf("%d granted after %d pauses, want as many", held, want+1)
			}
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			b.made(b.claims[name])
		}
		if held, _ := b.numbers(); held != 2 {
			t.Errorf("%d granted while a request waits", held)
		}
		b.hurry(b.claims["urgent"], false)
		if held, _ := b.numbers(); held != 2 {
			t.Errorf("%d granted in the moment in which a request has its instance, want none more", held)
		}
		time.Sleep(refillCalm)
		synctest.Wait()
		if held, _ := b.numbers(); held != 4 {
			t.Errorf("%d granted when no request waits any more, want all", held)
		}
	})
}

// TestAWakeMakesNoSpareOfOthers holds that a woken revision keeps its place, so that its wake and its way back to zero cost the creation of one
// spare, its own; and that one which stays up gives the place away.
func TestAWakeMakesNoSpareOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPoolBench(1, "woken", "waiting")
		b.used["woken"], b.used["waiting"] = time.Now(), time.Now().Add(-time.Hour)
		b.ask("woken")
		b.made(b.claims["woken"])
		b.ask("waiting")
		time.Sleep(time.Minute)
		steps := func(d time.Duration) { // of a scaler whose instance is wanted
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				b.stay(b.claims["woken"], time.Now())
			}
		}
		b.hurry(b.claims["woken"], true)
		b.stay(b.claims["woken"], time.Now())
		b.hurry(b.claims["woken"], false)
		steps(90 * time.Second)
		b.expect(t, map[string]claimState{"woken": claimGranted, "waiting": claimWaiting})
		if held, _ := b.numbers(); held != 0 {
			t.Errorf("%d spares are told while the only one is in use", held)
		}
		b.used["woken"] = time.Now()
		if !b.ask("woken") {
			t.Error("back at zero it has to wait for its own place")
		}
		steps(placeKept + time.Second)
		b.made(b.claims["waiting"])
		b.expect(t, map[string]claimState{"woken": claimNone, "waiting": claimGranted})
		b.used["woken"] = time.Now()
		b.ask("woken")
		b.expect(t, map[string]claimState{"woken": claimWaiting, "waiting": claimRevoked})
	})
}

// TestAPlaceInUseCanBeTaken holds that a place without a spare goes to a revision that was used more recently.
func TestAPlaceInUseCanBeTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPoolBench(1, "woken", "later")
		b.ask("woken")
		b.made(b.claims["woken"])
		b.stay(b.claims["woken"], time.Now())
		b.used["later"] = time.Now().Add(time.Second)
		b.ask("later")
		b.expect(t, map[string]claimState{"woken": claimRevoked, "later": claimWaiting})
		b.stay(b.claims["woken"], time.Now())
		b.expect(t, map[string]claimState{"woken": claimNone, "later": claimGranted})
	})
}

// TestSparesOfAnEarlierDaemon holds that adopted spares count, and are given up where they are too many.
func TestSparesOfAnEarlierDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPoolBench(2, "a", "b", "new")
		for _, name := range []string{"a", "b"} {
			if !b.hold(b.claims[name], time.Time{}) {
				t.Fatalf("%s may not stay", name)
			}
		}
		b.used["new"] = time.Now()
		if b.ask("new") {
			t.Error("granted above the limit")
		}
		revoked := b.claims["a"]
		if b.claims["b"].state == claimRevoked {
			revoked = b.claims["b"]
		}
		if revoked.state != claimRevoked {
			t.Fatal("no adopted spare gives way")
		}
		b.drop(revoked)
		b.expect(t, map[string]claimState{"new": claimGranted})
	})
}

// TestScalerWithoutASpare holds that a scaler whose revision may keep no spare stops the one it has, and wakes from nothing.
func TestScalerWithoutASpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, nil)
		pool := newSparePool(1, time.Now)
		b.spares = pool
		b.begin()
		defer b.end()
		time.Sleep(75 * time.Second)
		b.expect(0, 0, 0)
		if s := b.state(); s.spares != 1 {
			t.Fatalf("%d spares at zero, want 1", s.spares)
		}
		other := &spareClaim{kick: make(chan struct{}, 1)}
		pool.ask(other, time.Now())
		time.Sleep(time.Second)
		if s := b.state(); s.spares != 0 || other.state != claimGranted {
			t.Fatalf("%d spares after another was used more recently, whose claim is %d", s.spares, other.state)
		}
		b.load.put(1, 0)
		b.wake()
		time.Sleep(time.Second)
		b.expect(1, 1, 1)
		b.load.put(0, 0)
		time.Sleep(75 * time.Second)
		synctest.Wait()
		if other.state != claimRevoked {
			t.Fatalf("the other's claim is %d after the revision was used", other.state)
		}
		pool.drop(other)
		time.Sleep(time.Second)
		if s := b.state(); s.spares != 1 {
			t.Errorf("%d spares of what was used last, want 1", s.spares)
		}
	})
}
