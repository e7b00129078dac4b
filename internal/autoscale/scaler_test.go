package autoscale

import (
	"testing"
	"time"
)

func config(t *testing.T, data map[string]string) *Config {
	t.Helper()
	c, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// epoch is a round second: buckets are aligned to seconds.
var epoch = time.Unix(1_700_000_000, 0)

// drive records one load per second for a time, deciding every two seconds, and gives the last decision.
func drive(s *Scaler, from time.Time, d time.Duration, ready int, l Load) (Decision, time.Time) {
	var last Decision
	now := from
	for n := range int(d / time.Second) {
		now = now.Add(time.Second)
		l.Period = time.Second
		s.Record(now, l)
		if n%2 == 1 {
			last = s.Decide(now, State{Ready: ready, Initialized: true})
		}
	}
	return last, now
}

func TestSteadyConcurrency(t *testing.T) {
	spec := Resolve(map[string]string{"autoscaling.knative.dev/target": "10"}, 0, true, config(t, nil))
	if spec.Target != 7 || spec.Total != 10 {
		t.Fatalf("target %v of %v, want 7 of 10", spec.Target, spec.Total)
	}
	s := New(spec, 0, epoch)
	d, _ := drive(s, epoch, 70*time.Second, 5, Load{Concurrency: 35})
	if d.Desired != 5 || d.Stable != 35 {
		t.Errorf("35 at once with a target of 7: desired %d at stable %v, want 5 at 35", d.Desired, d.Stable)
	}
	if d.Panicking {
		t.Error("panicking under a steady load that fits")
	}
}

func TestRequestsPerSecond(t *testing.T) {
	spec := Resolve(map[string]string{"autoscaling.knative.dev/metric": "rps", "autoscaling.knative.dev/target": "100"}, 0, true, config(t, nil))
	s := New(spec, 0, epoch)
	d, _ := drive(s, epoch, 70*time.Second, 3, Load{Requests: 210})
	if d.Desired != 3 {
		t.Errorf("210 rps with a target of 70: desired %d, want 3", d.Desired)
	}
}

func TestBurstAtOnce(t *testing.T) {
	spec := Resolve(nil, 1, true, config(t, nil))
	s := New(spec, 0, epoch)
	// A hundred requests wait: one record of a moment is enough.
	s.Record(epoch.Add(time.Millisecond), Load{Concurrency: 100})
	d := s.Decide(epoch.Add(2*time.Millisecond), State{})
	if d.Desired != 143 || !d.Panicking {
		t.Errorf("100 waiting with target 0.7: desired %d (panicking %v), want 143 in panic", d.Desired, d.Panicking)
	}
}

func TestSampleOverSecondsIsSpread(t *testing.T) {
	spec := Resolve(nil, 0, true, config(t, nil))
	a, b := New(spec, 0, epoch), New(spec, 0, epoch)
	now := epoch
	for range 30 {
		for range 4 {
			now = now.Add(time.Second / 2)
			a.Record(now, Load{Period: time.Second / 2, Concurrency: 8, Requests: 4})
		}
		b.Record(now, Load{Period: 2 * time.Second, Concurrency: 8, Requests: 16})
	}
	x, y := a.Decide(now, State{Ready: 1}), b.Decide(now, State{Ready: 1})
	if x.Stable != y.Stable || x.Stable < 7.8 || x.Stable > 8 {
		t.Errorf("sampled every 0.5 s: stable %v; every 2 s: %v; want the same, about 8", x.Stable, y.Stable)
	}
	xr, _, _ := a.windows.StableAndPanicRPS(noName, now)
	yr, _, _ := b.windows.StableAndPanicRPS(noName, now)
	if xr != yr || xr < 7.8 || xr > 8 {
		t.Errorf("rps sampled every 0.5 s: %v, every 2 s: %v, want the same, about 8", xr, yr)
	}
}

func TestToZero(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		config      map[string]string
		reachable   bool
		want        time.Duration // from the last request; negative: never
	}{
		{"default", nil, nil, true, 60 * time.Second},
		{"short window", map[string]string{"autoscaling.knative.dev/window": "6s"}, nil, true, 6 * time.Second},
		{"retention", map[string]string{"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "30s"}, nil, true, 36 * time.Second},
		{"retention of an unreachable revision", map[string]string{"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "30s"}, nil, false, 6 * time.Second},
		{"scale-down delay", map[string]string{"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/scale-down-delay": "1m"}, nil, true, 64 * time.Second},
		{"min-scale", map[string]string{"autoscaling.knative.dev/min-scale": "1"}, nil, true, -1},
		{"minScale, the old spelling", map[string]string{"autoscaling.knative.dev/minScale": "1"}, nil, true, -1},
		{"min-scale of an unreachable revision", map[string]string{"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/window": "6s"}, nil, false, 6 * time.Second},
		{"not allowed", nil, map[string]string{"enable-scale-to-zero": "false"}, true, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Resolve(tt.annotations, 0, tt.reachable, config(t, tt.config)), 1, epoch)
			_, begin := drive(s, epoch, 100*time.Second, 1, Load{Concurrency: 1})
			got := time.Duration(-1)
			for now := begin.Add(2 * time.Second); now.Sub(begin) < 5*time.Minute; now = now.Add(2 * time.Second) {
				s.Record(now, Load{Period: 2 * time.Second})
				if s.Decide(now, State{Ready: 1, Initialized: true}).Desired == 0 {
					got = now.Sub(begin)
					break
				}
			}
			if (tt.want < 0) != (got < 0) || got < tt.want-2*time.Second || got > tt.want+4*time.Second {
				t.Errorf("at zero after %v, want about %v", got, tt.want)
			}
		})
	}
}

func TestFreshRevisionStaysAStableWindow(t *testing.T) {
	s := New(Resolve(nil, 0, true, config(t, nil)), 0, epoch)
	d := s.Decide(epoch, State{Ready: 1, Initialized: true})
	if d.Desired != 1 || d.Again != time.Minute {
		t.Errorf("a revision just made: %+v, want 1 for a minute", d)
	}
	if d := s.Decide(epoch.Add(time.Minute), State{Ready: 1, Initialized: true}); d.Desired != 0 {
		t.Errorf("after a minute without requests: %d, want 0", d.Desired)
	}
}

func TestBounds(t *testing.T) {
	a := map[string]string{
		"autoscaling.knative.dev/max-scale": "4", "autoscaling.knative.dev/initial-scale": "3",
		"autoscaling.knative.dev/activation-scale": "2", "autoscaling.knative.dev/target": "1",
	}
	spec := Resolve(a, 0, true, config(t, nil))
	if n := spec.Floor(false); n != 3 {
		t.Errorf("first start: %d, want the initial scale 3", n)
	}
	if n := spec.Floor(true); n != 2 {
		t.Errorf("woken: %d, want the activation scale 2", n)
	}
	s := New(spec, 0, epoch)
	if d := s.Decide(epoch, State{}); d.Desired != 3 {
		t.Errorf("before the initial scale was reached: %d, want 3", d.Desired)
	}
	if d, _ := drive(s, epoch, 10*time.Second, 1, Load{Concurrency: 100}); d.Desired != 4 {
		t.Errorf("much load: %d, want the maximum 4", d.Desired)
	}
	s = New(spec, 0, epoch)
	if d, _ := drive(s, epoch, 10*time.Second, 1, Load{Concurrency: 0.5}); d.Desired != 2 {
		t.Errorf("little load: %d, want the activation scale 2", d.Desired)
	}
}

func TestRestartKeepsInstances(t *testing.T) {
	s := New(Resolve(nil, 0, true, config(t, nil)), 5, time.Now())
	if d := s.Decide(time.Now().Add(time.Second), State{Ready: 5, Initialized: true}); d.Desired != 5 {
		t.Errorf("just restarted with 5 instances and no load seen: %d, want 5", d.Desired)
	}
}

func TestConfigIsRefused(t *testing.T) {
	if _, err := ParseConfig(map[string]string{"max-scale-up-rate": "0.5"}); err == nil {
		t.Error("a scale-up rate below 1 was taken")
	}
}

func TestHPA(t *testing.T) {
	spec := Resolve(map[string]string{
		"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev", "autoscaling.knative.dev/metric": "cpu",
		"autoscaling.knative.dev/target": "50", "autoscaling.knative.dev/max-scale": "10",
	}, 0, true, config(t, nil))
	if spec.Class != HPA || spec.Metric != "cpu" || spec.Target != 50 || spec.Min != 1 {
		t.Fatalf("%+v", spec)
	}
	s := New(spec, 2, epoch)
	steps := []struct {
		at    time.Duration
		ready int
		usage float64
		want  int32
	}{
		{0, 2, 52, 2},                  // within tolerance
		{30 * time.Second, 2, 100, 4},  // twice the target
		{60 * time.Second, 4, 500, 8},  // limited to double
		{90 * time.Second, 8, 90, 10},  // max-scale
		{120 * time.Second, 10, 5, 10}, // not down at once
		{500 * time.Second, 10, 5, 1},
	}
	for _, st := range steps {
		if d := s.Decide(epoch.Add(st.at), State{Ready: st.ready, Usage: st.usage, Initialized: true}); d.Desired != st.want {
			t.Errorf("after %v, %d at %v %%: desired %d, want %d", st.at, st.ready, st.usage, d.Desired, st.want)
		}
	}
}
