package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// callTime bounds one call of the helper by an owner.
const callTime = 90 * time.Second

// life is the state machine of one instance. Only its owner goroutine touches it, and Create before that goroutine starts.
type life struct {
	i     *Instance
	conn  *helper.Client
	state State
	init  []*run
	main  []*run

	killAt  time.Time // when draining: SIGKILL is due
	killed  bool
	reason  string // why it drains
	message string
	counted Phase // as in the metric; empty: not at all
	kept    bool  // the log, by keepLog
}

// run is a container of an instance and where it is in its life.
type run struct {
	spec   Container
	index  int
	number int // of the current run, from 0
	made   helper.Created
	there  bool // the helper has it

	phase    ContainerPhase
	started  bool // startup probe has succeeded
	ready    bool
	restarts int
	since    time.Time // of the current run
	reason   string
	message  string
	// elsewhere is where the present run listens while it is not ready; nil: not known, or where it should.
	elsewhere *Elsewhere
	exit      *Exit
	last      *Exit

	restartAt time.Time     // when waiting for a restart
	delay     time.Duration // before the restart after the next
	killAt    time.Time     // when a failed probe ends it: SIGKILL is due
	verdict   string        // reason to give for the coming exit
	probes    *probes
}

func newLife(i *Instance, conn *helper.Client) *life {
	l := &life{i: i, conn: conn}
	for n, c := range i.spec.Init {
		l.init = append(l.init, &run{spec: c, index: n, phase: ContainerWaiting})
	}
	for n, c := range i.spec.Containers {
		l.main = append(l.main, &run{spec: c, index: n, phase: ContainerWaiting})
	}
	return l
}

func (l *life) all() []*run { return append(append([]*run{}, l.init...), l.main...) }

func (l *life) find(name string) *run {
	for _, c := range l.all() {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

// run moves the state until the instance is gone, or the Manager ends and leaves it.
func (l *life) run(closing, lost <-chan struct{}) {
	defer close(l.i.done)
	defer func() {
		if l.state.Phase == PhaseGone {
			l.keepLog()
		}
		l.i.m.forget(l.i)
	}()
	defer l.i.sockets.Close()
	outbound := l.listen()
	defer outbound.close()
	defer l.stopProbes()
	ctx, cancel := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	l.watchVolumes(ctx, &watchers)
	defer func() { cancel(); watchers.Wait() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for l.state.Phase != PhaseGone {
		timer.Reset(l.untilNext())
		select {
		case f := <-l.i.mail:
			f(l)
		case e := <-l.i.exits:
			l.exited(e)
		case r := <-l.i.results:
			l.probed(r)
		case <-timer.C:
			l.due(time.Now())
		case <-lost:
			l.gone(ReasonHelperLost, "the sandbox helper ended, and every instance with it")
		case <-closing:
			if l.i.m.keep.Load() {
				l.publish()
				l.count(PhaseGone) // not counted here any more
				return
			}
			closing = nil
			l.stop(min(l.i.spec.Grace, l.i.m.cfg.StopGrace), ReasonStopped, "Fairlead is stopping")
		}
	}
}

// untilNext is how long nothing is due.
func (l *life) untilNext() time.Duration {
	next := time.Now().Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if l.state.Phase == PhaseDraining && !l.killed {
		sooner(l.killAt)
	}
	if l.state.Phase != PhaseFrozen {
		for _, c := range l.all() {
			sooner(c.restartAt)
			sooner(c.killAt)
		}
	}
	return max(0, time.Until(next))
}

// due does what the time has come for.
func (l *life) due(now time.Time) {
	if l.state.Phase == PhaseDraining && !l.killed && !now.Before(l.killAt) {
		l.killAll()
	}
	if l.state.Phase == PhaseFrozen {
		return
	}
	for _, c := range l.all() {
		if !c.killAt.IsZero() && !now.Before(c.killAt) {
			c.killAt = time.Time{}
			l.signal(c, unix.SIGKILL)
		}
		if !c.restartAt.IsZero() && !now.Before(c.restartAt) {
			c.restartAt = time.Time{}
			l.restart(c)
		}
	}
}

// start lets user code run.
func (l *life) start() error {
	switch l.state.Phase {
	case PhaseRunning:
		return nil
	case PhaseFrozen:
		ctx, cancel := call()
		defer cancel()
		return l.thaw(ctx)
	case PhaseCreated:
	default:
		return fmt.Errorf("instance %s is %s: %w", l.i.id, l.state.Phase, ErrPhase)
	}
	l.state.Phase = PhaseRunning
	l.state.Started = time.Now()
	if len(l.init) > 0 {
		for _, c := range l.main {
			c.reason = ReasonPodInitializing
		}
	}
	err := l.startNext()
	l.publish()
	return err
}

// startNext starts the next init container, or all others if there is none.
func (l *life) startNext() error {
	for _, c := range l.init {
		if c.exit == nil {
			if c.phase == ContainerWaiting {
				return l.wake(c)
			}
			return nil
		}
	}
	var all []error
	for _, c := range l.main {
		if c.phase == ContainerWaiting && c.there {
			all = append(all, l.wake(c))
		}
	}
	return errors.Join(all...)
}

// wake starts a created container.
func (l *life) wake(c *run) error {
	// Taken before the program runs: its first words belong to this run, and it may have ended before release returns.
	began := time.Now()
	if err := l.release(c); err != nil {
		err = fmt.Errorf("starting container %s of instance %s: %w", c.spec.Name, l.i.id, err)
		c.reason, c.message = ReasonStartError, err.Error()
		return err
	}
	c.phase, c.since, c.reason, c.message = ContainerRunning, began, "", ""
	l.beginProbes(c)
	return nil
}

func (l *life) release(c *run) error {
	if c.made.Fifo != "" {
		return openFifo(c.made.Fifo, c.made.FifoReads)
	}
	ctx, cancel := call()
	defer cancel()
	return l.conn.Start(ctx, l.ref(c))
}

func (l *life) ref(c *run) helper.Ref { return helper.Ref{Instance: l.i.id, Container: c.spec.Name} }

func call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTime)
}

func (l *life) freeze(ctx context.Context) error {
	switch l.state.Phase {
	case PhaseFrozen:
		return nil
	case PhaseRunning:
	default:
		return fmt.Errorf("instance %s is %s: %w", l.i.id, l.state.Phase, ErrPhase)
	}
	l.stopProbes()
	if err := l.hold(ctx); err != nil {
		undo, cancel := call()
		defer cancel()
		err = errors.Join(err, l.unhold(undo))
		l.resumeProbes()
		return fmt.Errorf("freezing instance %s: %w", l.i.id, err)
	}
	l.state.Phase = PhaseFrozen
	l.publish()
	return nil
}

func (l *life) thaw(ctx context.Context) error {
	switch l.state.Phase {
	case PhaseRunning:
		return nil
	case PhaseFrozen:
	default:
		return fmt.Errorf("instance %s is %s: %w", l.i.id, l.state.Phase, ErrPhase)
	}
	began := time.Now()
	if err := l.unhold(ctx); err != nil {
		return fmt.Errorf("thawing instance %s: %w", l.i.id, err)
	}
	l.state.Phase = PhaseRunning
	l.publish()
	l.resumeProbes()
	since(l.i.m.metrics.thaw, began)
	return nil
}

// stop begins draining, or shortens it.
func (l *life) stop(grace time.Duration, reason, message string) {
	if grace < 0 {
		grace = l.i.spec.Grace
	}
	at := time.Now().Add(grace)
	if l.state.Phase == PhaseDraining {
		if at.Before(l.killAt) {
			l.killAt = at
		}
		return
	}
	was := l.state.Phase
	l.state.Phase, l.killAt, l.reason, l.message = PhaseDraining, at, reason, message
	l.stopProbes()
	l.publish()
	if was == PhaseFrozen {
		ctx, cancel := call()
		defer cancel()
		if err := l.unhold(ctx); err != nil {
			l.i.m.log.Error("thawing an instance to stop it", "instance", l.i.id, "err", err)
		}
	}
	if was == PhaseCreated || grace == 0 {
		l.killAll()
	} else {
		for _, c := range l.all() {
			if c.phase == ContainerRunning {
				l.signal(c, unix.SIGTERM)
			}
		}
	}
	l.checkEnded()
}

func (l *life) signal(c *run, s unix.Signal) {
	ctx, cancel := call()
	defer cancel()
	if err := l.conn.Signal(ctx, l.ref(c), s); err != nil && !errors.Is(err, helper.ErrLost) {
		l.i.m.log.Error("signalling a container", "instance", l.i.id, "container", c.spec.Name, "err", err)
	}
}

// killAll ends what is left; the helper waits for the processes.
func (l *life) killAll() {
	l.killed = true
	l.gone(l.reason, l.message)
}

// checkEnded ends a draining instance when no container runs any more.
func (l *life) checkEnded() {
	if l.state.Phase != PhaseDraining {
		return
	}
	for _, c := range l.all() {
		if c.phase == ContainerRunning {
			return
		}
	}
	l.gone(l.reason, l.message)
}

// gone removes everything but the logs. Processes that are left are killed.
func (l *life) gone(reason, message string) {
	l.stopProbes()
	ctx, cancel := call()
	defer cancel()
	err := l.conn.Close(ctx, l.i.id)
	if !errors.Is(err, helper.ErrLost) {
		err = errors.Join(err, l.i.m.removeCgroup(l.i.id), os.RemoveAll(l.i.dir))
	} else {
		err = nil // Manager.Run clears all that a lost helper leaves
	}
	if err != nil {
		l.i.m.log.Error("removing an instance", "instance", l.i.id, "err", err)
	}
	l.drainExits()
	for _, c := range l.all() {
		if c.phase == ContainerRunning {
			c.exit = &Exit{Code: 137, Signal: int(unix.SIGKILL), Reason: ReasonError, Started: c.since, Ended: time.Now()}
		}
		c.phase, c.ready = ContainerExited, false
	}
	l.state.Phase, l.reason, l.message = PhaseGone, reason, message
	l.publish()
}

// drainExits takes the exits that the helper told while it removed the instance.
func (l *life) drainExits() {
	for {
		select {
		case e := <-l.i.exits:
			l.record(e)
		default:
			return
		}
	}
}
