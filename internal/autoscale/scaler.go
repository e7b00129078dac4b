package autoscale

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"knative.dev/serving/pkg/autoscaler/scaling"
)

// State is what is known about a revision's instances when a decision is asked for.
type State struct {
	// Ready is how many take requests now.
	Ready int
	// Initialized says that the revision has had its initial scale once.
	Initialized bool
	// Usage is for the class hpa: the average use per ready instance, in percent of the CPU request or in MiB.
	Usage float64
}

// Decision is how many instances there should be.
type Decision struct {
	// Desired is the number, within the bounds.
	Desired int32
	// Again is when, at the latest, a decision without new load might be another one; zero: at the next tick.
	Again time.Duration
	// ExcessBurst is the burst capacity left over, negative if there is too little.
	ExcessBurst int32
	// Stable and Panic are the averages that were decided on.
	Stable, Panic float64
	// Panicking says that a surge is being followed: no scaling down.
	Panicking bool
}

// Scaler remembers the load of one revision and decides. It belongs to one goroutine.
type Scaler struct {
	spec    Spec
	ready   readyCount
	windows *windows
	kpa     scaling.UniScaler
	hpa     hpa

	active time.Time // since when it has instances
	idle   time.Time // since when none is wanted
	panics time.Time // last time the panic threshold was passed
}

// readyCount hands the number of ready instances to upstream.
type readyCount struct{ n int }

func (r *readyCount) ReadyCount() (int, error)    { return r.n, nil }
func (r *readyCount) NotReadyCount() (int, error) { return 0, nil }

// New makes a scaler for a revision that has this many ready instances. With more than one it holds on to them until it has
// seen a stable window of load.
func New(spec Spec, ready int, now time.Time) *Scaler {
	s := &Scaler{spec: spec, windows: newWindows(spec), ready: readyCount{ready}}
	if ready > 0 {
		s.active = now
	}
	s.kpa = s.newKPA()
	return s
}

func (s *Scaler) newKPA() scaling.UniScaler {
	d := s.spec.decider
	return scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), "", "", s.windows, &s.ready, &d)
}

// Update puts a new spec in force; the load seen so far is kept.
func (s *Scaler) Update(spec Spec) {
	old := s.spec
	s.spec = spec
	if spec.StableWindow > 0 && spec.Class != HPA {
		s.windows.resize(spec)
	}
	if spec.decider.ScaleDownDelay != old.decider.ScaleDownDelay {
		s.kpa = s.newKPA()
		return
	}
	d := spec.decider
	s.kpa.Update(&d)
}

// Record adds the load of a period that ends now. Records follow each other without gap or overlap.
func (s *Scaler) Record(now time.Time, l Load) {
	if s.spec.Class == HPA {
		return
	}
	s.windows.record(now, l, s.spec.StableWindow)
}

// Floor is how many instances a revision that is woken should start with, whatever its load.
func (s Spec) Floor(initialized bool) int32 {
	n := max(1, s.Min, s.Activation)
	if !initialized && s.Reachable {
		n = max(n, s.Initial)
	}
	return s.bound(n, 0)
}

// bound applies Min, where the initial scale counts as Min, and Max.
func (s Spec) bound(n, initial int32) int32 {
	n = max(n, s.Min, initial)
	if s.Max > 0 {
		n = min(n, s.Max)
	}
	return n
}

// Decide says how many instances there should be. Call it at every tick (Knative's is 2 s), and when waiting requests ask for more.
func (s *Scaler) Decide(now time.Time, st State) Decision {
	s.ready.n = st.Ready
	if st.Ready > 0 && s.active.IsZero() {
		s.active = now
	}
	var d Decision
	if s.spec.Class == HPA {
		d.Desired = s.hpa.decide(now, s.spec, st)
	} else {
		d = s.decideKPA(now)
	}
	var initial int32
	if !st.Initialized && s.spec.Reachable && s.spec.Initial > 1 {
		initial = s.spec.Initial
	}
	d.Desired = s.spec.bound(d.Desired, initial)
	if d.Desired > 0 {
		s.idle = time.Time{}
		return d
	}
	d.Desired, d.Again = s.towardsZero(now, st)
	return d
}

func (s *Scaler) decideKPA(now time.Time) Decision {
	r := s.kpa.Scale(zap.NewNop().Sugar(), now)
	d := Decision{Desired: r.DesiredPodCount, ExcessBurst: r.ExcessBurstCapacity}
	if s.spec.decider.ScalingMetric == "rps" {
		d.Stable, d.Panic, _ = s.windows.StableAndPanicRPS(noName, now)
	} else {
		d.Stable, d.Panic, _ = s.windows.StableAndPanicConcurrency(noName, now)
	}
	d.Panicking = s.panicking(now, d.Panic)
	return d
}

// panicking follows upstream's panic state, which it does not show.
func (s *Scaler) panicking(now time.Time, load float64) bool {
	wanted := ceil(load/s.spec.Target) / max(1, float64(s.ready.n))
	if wanted >= s.spec.decider.PanicThreshold {
		s.panics = now
	}
	return !s.panics.IsZero() && !s.panics.Add(s.spec.StableWindow).Before(now)
}

// towardsZero decides between none and one for a revision for which none are wanted: one until it has been there for a
// stable window, and the retention has passed since.
func (s *Scaler) towardsZero(now time.Time, st State) (int32, time.Duration) {
	if !s.spec.ToZero {
		return 1, 0
	}
	if st.Ready == 0 {
		s.active, s.idle = time.Time{}, time.Time{}
		return 0, 0
	}
	if left := s.spec.StableWindow - now.Sub(s.active); left > 0 {
		return 1, left
	}
	if s.idle.IsZero() {
		s.idle = now
	}
	if left := s.spec.Retention - now.Sub(s.idle); left > 0 {
		return 1, left
	}
	return 0, 0
}
