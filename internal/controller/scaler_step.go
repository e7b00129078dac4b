package controller

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// step brings the instances nearer to what is wanted and says when to look again at the latest; 0 is never.
func (s *scaler) step(ctx context.Context) time.Duration {
	s.takePlan()
	if s.plan == nil {
		return 0
	}
	now := s.now()
	if s.retired.Load() {
		s.want = 0
		for _, i := range slices.Clone(s.instances) {
			s.leave(ctx, i)
		}
		s.route()
		s.quit()
		return 0
	}
	s.measure(ctx, now)
	s.reconsider()
	s.decide(now)
	s.judge(now)
	s.scaleUp(ctx, now)
	s.hurry(now)
	s.scaleDown(ctx)
	s.keepSpare(ctx, now)
	s.route()
	s.publish()
	return s.nextStep(now)
}

// takePlan puts the latest plan in force.
func (s *scaler) takePlan() {
	p := s.planned.Load()
	if p == nil || p == s.plan {
		return
	}
	first := s.plan == nil
	s.plan = p
	now := s.now()
	if !first {
		s.auto.Update(p.spec)
		s.decided = time.Time{}
		return
	}
	ready := s.count((*instance).ready)
	s.auto = autoscale.New(p.spec, ready, now)
	s.want = int32(s.count((*instance).serves)) //nolint:gosec // far below
	s.initialized = p.initialized || p.spec.Initial == 0
	s.charge()
	s.sampled = now
}

// decide asks the autoscaler, when it is time.
func (s *scaler) decide(now time.Time) {
	busy := s.want > 0 || s.count((*instance).serves) > 0
	fresh := s.decided.IsZero()
	if busy && now.Sub(s.sampled) >= loadEvery {
		l := s.router.Sample(s.backend)
		s.auto.Record(now, autoscale.Load{Period: l.Period, Concurrency: l.Concurrency, Requests: float64(l.Requests)})
		s.sampled = now
	}
	due := busy && (now.Sub(s.decided) >= decideEvery || !s.again.IsZero() && !now.Before(s.again))
	if !fresh && !due {
		return
	}
	s.decided, s.again = now, time.Time{}
	d := s.auto.Decide(now, s.autoState())
	s.short = d.ExcessBurst < 0
	if d.Again > 0 {
		s.again = now.Add(d.Again)
	}
	before := s.want
	s.want = d.Desired
	if !s.initialized && !s.exceeded {
		s.want = max(s.want, s.floor())
	}
	if settled := s.proved.Add(2 * decideEvery); now.Before(settled) {
		s.want, s.again = max(s.want, before), settled // who looks sees the initial scale reached
	}
	if s.want == 0 && busy && s.router.Stats(s.backend).Waiting > 0 {
		s.want = s.floor()
	}
}

// judge finds out whether the revision has proved itself, or has taken too long.
func (s *scaler) judge(now time.Time) {
	ready := s.count((*instance).ready)
	if !s.initialized && ready >= int(s.proof()) {
		s.initialized, s.proved = true, now
		s.decided = time.Time{}
	}
	if s.want == 0 || ready > 0 {
		s.stuck = time.Time{}
		if ready > 0 {
			s.exceeded = false
		}
		return
	}
	if s.stuck.IsZero() {
		s.stuck = now
	}
	if now.Sub(s.stuck) >= s.plan.deadline {
		s.exceeded, s.want = true, 0
		s.router.SetFailed(s.backend, s.lateness())
	}
}

// proof is how many ready instances prove a new revision.
func (s *scaler) proof() int32 {
	n := max(s.plan.spec.Min, 1)
	if s.plan.spec.Reachable {
		n = max(n, s.plan.spec.Initial)
	}
	if most := s.plan.spec.Max; most > 0 {
		n = min(n, most)
	}
	return n
}

// scaleUp thaws, starts and makes instances until enough serve.
func (s *scaler) scaleUp(ctx context.Context, now time.Time) {
	s.missing = ""
	s.forgive()
	defer func() {
		if s.missing == "" {
			s.waits = nil
		}
	}()
	for n := int(s.want) - s.count((*instance).serves); n > 0; n-- {
		if i := s.find(func(i *instance) bool { return i.phase == phaseFrozen }); i != nil {
			s.thaw(ctx, i)
			continue
		}
		spare := s.find(func(i *instance) bool {
			return (i.phase == phaseSpare || i.phase == phaseMaking && !i.wanted) && i.version == s.plan.version
		})
		if spare == nil && now.Before(s.makeAfter) {
			return
		}
		id, waited := s.candidate(spare)
		if !s.admit(id) {
			return
		}
		missing, ok := s.capacity.reserve(s.plan.needs, s.kick)
		if !ok {
			s.quotas.Drop(s.object(id))
			s.missing = missing
			s.wait(spare, now)
			return
		}
		if spare == nil {
			spare = s.make(ctx, now, id, waited)
		}
		spare.reserved, spare.wanted = s.plan.needs, true
		if spare.phase == phaseSpare {
			s.start(ctx, spare)
		}
	}
}

// scaleDown sends instances away while too many serve: those that are not ready first, then the least busy, of
// these the newest.
func (s *scaler) scaleDown(ctx context.Context) {
	n := s.count((*instance).serves) - int(s.want)
	if n <= 0 {
		return
	}
	busy := map[string]int{}
	for _, i := range s.router.Stats(s.backend).Instances {
		busy[i.ID] = i.InFlight
	}
	var serving []*instance
	for _, i := range s.instances {
		if i.serves() {
			serving = append(serving, i)
		}
	}
	slices.SortStableFunc(serving, func(a, b *instance) int {
		if a.ready() != b.ready() {
			if b.ready() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(busy[a.name], busy[b.name]), b.created.Compare(a.created))
	})
	for _, i := range serving[:n] {
		last := s.want == 0 && i.ready() && s.find(func(o *instance) bool { return o.phase == phaseFrozen }) == nil
		switch {
		case i.phase == phaseMaking:
			i.wanted = false // becomes a spare, or leaves when it is made
			s.unreserve(i)
			s.quotas.Drop(s.object(i.identity))
		case s.plan.freeze && last:
			s.freeze(ctx, i)
		default:
			s.leave(ctx, i)
		}
	}
}

// keepSpare holds one spare at zero, and none of another version or above that.
func (s *scaler) keepSpare(ctx context.Context, now time.Time) {
	keep := 0
	frozen := s.find(func(i *instance) bool { return i.phase == phaseFrozen }) != nil
	if s.plan.spare && s.want == 0 && s.initialized && !frozen && !s.exceeded {
		keep = 1
	}
	have := 0
	for _, i := range slices.Clone(s.instances) {
		if i.phase != phaseSpare && (i.phase != phaseMaking || i.wanted) {
			continue
		}
		if have < keep && i.version == s.plan.version && s.spares.hold(&s.claim, s.used) {
			have++
		} else {
			s.leave(ctx, i)
		}
	}
	switch {
	case keep == 0 && s.want > 0 && s.plan.spare:
		s.spares.stay(&s.claim, s.used)
	case keep == 0 || have == 0 && now.Before(s.makeAfter):
		s.spares.drop(&s.claim)
	case have == 0 && s.spares.ask(&s.claim, s.used):
		id, waited := s.nextIdentity()
		s.make(ctx, now, id, waited)
	}
}

// hurryFor is how long a revision that does not get ready keeps spares of others from being made.
const hurryFor = 10 * time.Second

// hurry lets spares wait while instances are wanted.
func (s *scaler) hurry(now time.Time) {
	if s.want > 0 {
		s.used = now
	}
	lacking := s.count((*instance).ready) < int(s.want)
	s.spares.hurry(&s.claim, lacking && (s.stuck.IsZero() || now.Sub(s.stuck) < hurryFor))
}

// route tells the gateway which instances take requests, when that has changed.
func (s *scaler) route() {
	var list []gateway.Instance
	var names []string
	for _, i := range s.instances {
		if i.ready() {
			list = append(list, gateway.Instance{ID: i.name, Dial: i.box.Dial, Wake: i.wake})
			names = append(names, i.name)
		}
	}
	routed := strings.Join(names, " ")
	if routed == s.routed {
		return
	}
	s.routed = routed
	s.router.SetInstances(s.backend, list)
}

func (s *scaler) nextStep(now time.Time) time.Duration {
	var next time.Duration
	sooner := func(d time.Duration) {
		d = max(d, time.Millisecond)
		if next == 0 || d < next {
			next = d
		}
	}
	if s.decided.IsZero() {
		sooner(time.Millisecond)
	}
	if s.want > 0 || s.count((*instance).serves) > 0 {
		sooner(s.sampled.Add(loadEvery).Sub(now))
	}
	if now.Before(s.makeAfter) {
		sooner(s.makeAfter.Sub(now))
	}
	if !s.again.IsZero() {
		sooner(s.again.Sub(now))
	}
	return next
}

func (s *scaler) find(is func(*instance) bool) *instance {
	if i := slices.IndexFunc(s.instances, is); i >= 0 {
		return s.instances[i]
	}
	return nil
}
