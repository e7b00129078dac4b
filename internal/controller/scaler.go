package controller

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/quota"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

const (
	// loadEvery is how often the load is sampled, decideEvery (Knative's own pace) how often it is decided upon.
	loadEvery   = time.Second
	decideEvery = 2 * time.Second
	// usageEvery is how often processor and memory use are read for the class hpa.
	usageEvery = 15 * time.Second
	// makeAgain is the first pause after an instance could not be made; it doubles up to makeAgainMax.
	makeAgain    = 500 * time.Millisecond
	makeAgainMax = 30 * time.Second
)

// router is the gateway as a scaler sees it.
type router interface {
	SetInstances(backend string, list []gateway.Instance)
	SetFailed(backend, reason string)
	Drain(ctx context.Context, backend, instance string) error
	Sample(backend string) gateway.Sample
	Stats(backend string) gateway.Stats
}

// scaler keeps the instances of one revision. Everything but the fields of the first group belongs to the goroutine
// of run; others reach it through the mailbox.
type scaler struct {
	key     key
	backend string
	planned atomic.Pointer[plan]
	kick    chan struct{}              // the plan changed, or capacity came free
	woken   chan struct{}              // a request waits
	events  chan event                 // bounded: senders wait
	seen    atomic.Pointer[scaleState] // what run last published
	retired atomic.Bool                // the revision is gone: stop everything and end
	ended   chan struct{}

	router   router
	maker    boxMaker
	capacity *capacity
	quotas   *quota.Ledger
	spares   *sparePool               // nil: there is no bound
	claim    spareClaim               // in spares
	changed  func(key, time.Duration) // to be told after a while
	quit     func()                   // the gateway sends nothing here any more, nor will it be told to
	report   func(*plan, report)
	log      *slog.Logger
	now      func() time.Time

	plan        *plan
	auto        *autoscale.Scaler
	instances   []*instance
	want        int32
	initialized bool
	proved      time.Time // when it became initialized in this daemon
	stuck       time.Time // since when instances are wanted and none is ready
	exceeded    bool      // stuck for longer than the deadline
	missing     string    // what of the machine's capacity is missing
	waits       *waiting  // the instance for which it is missing; nil for none
	elsewhere   *sandbox.Elsewhere
	denied      string   // which quota forbids the next instance, in the words of Kubernetes
	turned      *waiting // that instance; nil for none
	short       bool     // too little burst capacity
	makeErr     error
	makePause   time.Duration
	makeAfter   time.Time
	sampled     time.Time
	decided     time.Time
	measured    time.Time
	usage       usageMeter
	routed      string // the list the gateway was last given
	wokenAt     time.Time
	used        time.Time // when an instance was last wanted
	again       time.Time // when autoscale wants to be asked again
	jobs        sync.WaitGroup
}

// report is something to tell of a revision in an API event.
type report struct {
	pod     string
	warning bool
	runs    bool // it has not ended
	reason  string
	message string
}

// setPlan hands over a new plan.
func (s *scaler) setPlan(p *plan) {
	s.planned.Store(p)
	notify(s.kick)
}

// wake says that a request waits. It never blocks.
func (s *scaler) wake() { notify(s.woken) }

// send puts an event into the mailbox; it waits while the mailbox is full and gives up when the scaler has ended.
func (s *scaler) send(e event) {
	select {
	case s.events <- e:
	case <-s.ended:
	}
}

// retire asks the scaler to stop everything and end.
func (s *scaler) retire() {
	s.retired.Store(true)
	notify(s.kick)
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run owns the revision's instances until ctx ends (they go on running, for the next daemon to adopt) or the scaler
// is retired and the last one is gone.
func (s *scaler) run(ctx context.Context) {
	defer close(s.ended)
	defer s.capacity.forget(s.kick)
	defer s.quotas.Forget(s.key.Namespace, s.kick)
	s.claim.kick = s.kick
	defer s.spares.drop(&s.claim)
	defer s.spares.hurry(&s.claim, false)
	ctx, cancel := context.WithCancel(ctx)
	defer s.finish(cancel)
	for _, i := range s.instances { // adopted
		s.watch(ctx, i)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
			s.onWake()
		case <-s.kick:
		case e := <-s.events:
			s.handle(ctx, e)
			s.drainMail(ctx)
		case <-timer.C:
		}
		next := s.step(ctx)
		if s.retired.Load() && len(s.instances) == 0 {
			return
		}
		if next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
	}
}

// drainMail takes what else is there before the next step, so that many changes make one step.
func (s *scaler) drainMail(ctx context.Context) {
	for range cap(s.events) {
		select {
		case e := <-s.events:
			s.handle(ctx, e)
		default:
			return
		}
	}
}

// finish joins every goroutine the scaler started.
func (s *scaler) finish(cancel context.CancelFunc) {
	cancel()
	joined := make(chan struct{})
	go func() {
		s.jobs.Wait()
		close(joined)
	}()
	for {
		select {
		case e := <-s.events:
			if e.kind == eventMade && e.err == nil && s.retired.Load() {
				s.stopUnheard(e.box)
			}
		case <-joined:
			return
		}
	}
}

// stopUnheard ends a box that was made after its scaler stopped to listen.
func (s *scaler) stopUnheard(b box) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Stop(ctx, 0); err != nil {
		s.log.Warn("stopping an instance of a deleted revision", "revision", s.backend, "err", err)
	}
}

// onWake takes the waiting requests as load at once: the next instances must not wait for a tick.
func (s *scaler) onWake() {
	s.takePlan()
	if s.plan == nil || s.retired.Load() {
		return
	}
	now := s.now()
	s.wokenAt = now
	stats := s.router.Stats(s.backend)
	waiting := stats.Waiting + stats.InFlight
	s.auto.Record(now, autoscale.Load{Concurrency: float64(waiting)})
	d := s.auto.Decide(now, s.autoState())
	s.short = d.ExcessBurst < 0
	s.want = max(s.want, d.Desired)
	if waiting > 0 {
		s.want = max(s.want, s.floor())
	}
	s.exceeded = s.exceeded && s.want == 0
	if s.decided.IsZero() {
		s.decided, s.sampled = now, now
	}
}

// floor is the least number other than zero.
func (s *scaler) floor() int32 { return s.plan.spec.Floor(s.initialized) }

func (s *scaler) autoState() autoscale.State {
	return autoscale.State{Ready: s.count((*instance).ready), Initialized: s.initialized, Usage: s.usage.average}
}

func (s *scaler) count(is func(*instance) bool) int {
	n := 0
	for _, i := range s.instances {
		if is(i) {
			n++
		}
	}
	return n
}
