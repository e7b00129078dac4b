package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// waiting is an instance that is wanted and for which the machine has no capacity.
type waiting struct {
	identity
	version string
	since   time.Time
}

// wait says who the next instance will be: the spare where there is one.
func (s *scaler) wait(spare *instance, now time.Time) {
	switch w := s.waits; {
	case spare != nil:
		if w == nil || w.identity != spare.identity {
			s.waits = &waiting{identity: spare.identity, version: spare.version, since: now}
		}
	case w == nil || w.version != s.plan.version || s.find(func(i *instance) bool { return i.identity == w.identity }) != nil:
		s.waits = &waiting{identity: newIdentity(s.plan), version: s.plan.version, since: now}
	}
}

// nextIdentity is that of the instance which has waited, or a new one.
func (s *scaler) nextIdentity() (id identity, waited bool) {
	if w := s.waits; w != nil && w.version == s.plan.version && s.find(func(i *instance) bool { return i.identity == w.identity }) == nil {
		return w.identity, true
	}
	return newIdentity(s.plan), false
}

// make begins to create an instance. It becomes a spare unless wanted is set meanwhile.
func (s *scaler) make(ctx context.Context, now time.Time, id identity, waited bool) *instance {
	p := s.plan
	i := &instance{identity: id, waited: waited, phase: phaseMaking, version: p.version, created: now}
	s.instances = append(s.instances, i)
	s.jobs.Go(func() {
		b, err := s.maker.makeBox(ctx, p, i.identity)
		s.events <- event{kind: eventMade, instance: i, box: b, err: err}
	})
	return i
}

// adopt takes over an instance that an earlier daemon left running. Only before run.
func (s *scaler) adopt(id identity, b box, state sandbox.State, version string) {
	i := &instance{identity: id, box: b, state: state, version: version, created: state.Created, started: state.Started}
	switch state.Phase {
	case sandbox.PhaseCreated:
		i.phase = phaseSpare
	case sandbox.PhaseFrozen:
		i.phase = phaseFrozen
	case sandbox.PhaseDraining:
		i.phase, i.version = phaseSpare, "" // a spare of no version: the first step sends it away
	default:
		i.phase = phaseLive
	}
	s.instances = append(s.instances, i)
}

// watch has the instance's states sent to the mailbox.
func (s *scaler) watch(ctx context.Context, i *instance) {
	ctx, i.cancel = context.WithCancel(ctx)
	b := i.box
	s.jobs.Go(func() {
		b.Watch(ctx, func(state sandbox.State) {
			select {
			case s.events <- event{kind: eventState, instance: i, state: &state}:
			case <-ctx.Done():
			}
		})
	})
}

func (s *scaler) start(ctx context.Context, i *instance) {
	i.phase, i.started = phaseStarting, s.now()
	if !s.wokenAt.IsZero() {
		i.wake = &gateway.WakeTrace{Instance: i.name, Woken: s.wokenAt, Spare: i.created.Before(s.wokenAt), Started: i.started}
		if !i.wake.Spare {
			i.wake.Created = i.started
		}
		s.wokenAt = time.Time{}
	}
	b := i.box
	s.jobs.Go(func() {
		s.events <- event{kind: eventStarted, instance: i, err: b.Start(ctx)}
	})
}

func (s *scaler) freeze(ctx context.Context, i *instance) {
	i.phase = phaseFrozen
	s.unreserve(i)
	b := i.box
	s.jobs.Go(func() {
		s.events <- event{kind: eventFrozen, instance: i, err: b.Freeze(ctx)}
	})
}

func (s *scaler) thaw(ctx context.Context, i *instance) {
	i.phase, i.reserved = phaseLive, s.plan.needs
	i.state.Ready = false
	s.capacity.take(i.reserved)
	if !s.wokenAt.IsZero() {
		i.wake = &gateway.WakeTrace{Instance: i.name, Woken: s.wokenAt, Spare: true, Started: s.now()}
		s.wokenAt = time.Time{}
	}
	b := i.box
	s.jobs.Go(func() {
		s.events <- event{kind: eventThawed, instance: i, err: b.Thaw(ctx)}
	})
}

// leave takes the instance out of routing, lets its requests finish and stops it.
func (s *scaler) leave(ctx context.Context, i *instance) {
	if i.phase == phaseLeaving {
		return
	}
	was := i.phase
	i.phase = phaseLeaving
	if i.box == nil {
		return // being made: handled when it is
	}
	grace, drain := time.Duration(-1), drainTime(s.plan)
	if was == phaseSpare {
		grace, drain = 0, 0
	}
	b, name := i.box, i.name
	s.jobs.Go(func() {
		if drain > 0 {
			waiting, cancel := context.WithTimeout(ctx, drain)
			s.router.Drain(waiting, s.backend, name) //nolint:errcheck // past the time they are cut off
			cancel()
		}
		stopping, cancel := lastingContext(ctx)
		err := b.Stop(stopping, grace)
		cancel()
		s.events <- event{kind: eventGone, instance: i, err: err}
	})
}

// stopAtEnd is how long a stop that has begun may still take when the daemon ends.
const stopAtEnd = 5 * time.Second

// lastingContext ends a while after ctx does.
func lastingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	off := context.AfterFunc(ctx, func() { time.AfterFunc(stopAtEnd, cancel) })
	return lasting, func() { off(); cancel() }
}

// drainTime is how long requests in flight may take to finish: as long as the revision lets any request take.
func drainTime(p *plan) time.Duration {
	if t := seconds(p.revision.Spec.TimeoutSeconds); t > 0 {
		return t
	}
	return 5 * time.Minute
}

func (s *scaler) unreserve(i *instance) {
	s.capacity.release(i.reserved)
	i.reserved = demand{}
}

func (s *scaler) remove(i *instance) {
	if i.cancel != nil {
		i.cancel()
	}
	s.unreserve(i)
	s.quotas.Drop(s.object(i.identity))
	s.instances = slices.DeleteFunc(s.instances, func(o *instance) bool { return o == i })
}

// handle takes one event in. What follows from it is the next step's to do.
func (s *scaler) handle(ctx context.Context, e event) {
	i := e.instance
	switch e.kind {
	case eventMade:
		s.onMade(ctx, i, e)
	case eventState:
		s.onState(ctx, i, *e.state)
	case eventStarted, eventThawed, eventFrozen:
		if e.err != nil && i.phase != phaseLeaving {
			s.log.Warn("driving an instance", "revision", s.backend, "instance", i.name, "err", e.err)
			s.leave(ctx, i)
		}
	case eventGone:
		if e.err != nil {
			s.log.Warn("stopping an instance", "revision", s.backend, "instance", i.name, "err", e.err)
		}
		s.remove(i)
	case eventPodGone:
		if i := s.find(func(i *instance) bool { return i.name == e.pod }); i != nil {
			s.leave(ctx, i)
		}
		if s.waits != nil && s.waits.name == e.pod {
			s.waits = nil // another waits in its place
		}
	}
}

func (s *scaler) onMade(ctx context.Context, i *instance, e event) {
	s.spares.made(&s.claim)
	if e.err != nil {
		s.remove(i)
		if ctx.Err() != nil || i.phase == phaseLeaving {
			return
		}
		s.makePause = min(max(2*s.makePause, makeAgain), makeAgainMax)
		s.makeAfter = s.now().Add(s.makePause)
		if s.makeErr == nil || s.makeErr.Error() != e.err.Error() {
			s.tell(report{pod: i.name, warning: true, reason: "Failed", message: "Error: " + e.err.Error()})
		}
		s.makeErr = e.err
		s.router.SetFailed(s.backend, "no instance could be created")
		return
	}
	i.box = e.box
	s.makeErr, s.makePause, s.makeAfter = nil, 0, time.Time{}
	if i.phase == phaseLeaving {
		i.phase = phaseSpare
		s.leave(ctx, i)
		return
	}
	s.watch(ctx, i)
	i.phase = phaseSpare
	if i.wanted {
		s.start(ctx, i)
	}
}

func (s *scaler) onState(ctx context.Context, i *instance, state sandbox.State) {
	before := i.state
	i.state = state
	if i.phase == phaseLeaving {
		return
	}
	if state.Phase == sandbox.PhaseGone {
		s.tell(report{pod: i.name, warning: true, reason: reasonOr(state.Reason, "Failed"), message: state.Message})
		s.leave(ctx, i) // gives back what it holds
		return
	}
	if i.phase == phaseStarting && state.Phase == sandbox.PhaseRunning {
		i.phase = phaseLive
		s.tell(report{pod: i.name, reason: "Started", message: "Started container"})
	}
	if i.wake != nil && state.Ready && i.wake.Ready.IsZero() {
		i.wake.Ready = state.ReadyAt
	}
	s.tellRestarts(i, before, state)
	s.tellElsewhere(i, before, state)
}

// tellRestarts reports containers that ended, and fails the requests that wait for nothing.
func (s *scaler) tellRestarts(i *instance, before, after sandbox.State) {
	for n, c := range after.Containers {
		exit := lastExit(c)
		if exit == nil || n < len(before.Containers) && sameExit(lastExit(before.Containers[n]), exit) {
			continue
		}
		message := fmt.Sprintf("Container %s ended with exit code %d", c.Name, exit.Code)
		if exit.Message != "" {
			message += ": " + exit.Message
		}
		reason := "BackOff"
		if exit.Reason == sandbox.ReasonOOMKilled {
			reason = "OOMKilled"
		}
		s.tell(report{pod: i.name, warning: true, reason: reason, message: message})
		if s.count((*instance).ready) == 0 {
			s.router.SetFailed(s.backend, fmt.Sprintf("the instance ended with exit code %d", exit.Code))
		}
	}
}

// lastExit is how the present or the last run of a container ended, nil if none has.
func lastExit(c sandbox.ContainerStatus) *sandbox.Exit {
	if c.Exit != nil {
		return c.Exit
	}
	return c.Last
}

func sameExit(a, b *sandbox.Exit) bool {
	return a != nil && b != nil && a.Ended.Equal(b.Ended)
}

func reasonOr(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}

func (s *scaler) tell(r report) {
	if s.report != nil {
		s.report(s.plan, r)
	}
}
