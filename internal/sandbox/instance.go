package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// Instance is one instance of a Manager. Its methods may be called at once from many goroutines.
type Instance struct {
	m       *Manager
	id      string
	spec    Spec
	dir     string
	view    view
	sockets *netns.Sockets
	mail    chan func(*life)  // to the owner
	exits   chan helper.Event // to the owner, room for all containers
	results chan probeResult  // to the owner
	done    chan struct{}     // closed when the owner has ended

	mu        sync.Mutex
	state     State
	subs      map[chan State]struct{}
	accepting io.Closer // what the instance opens is accepted here; nil before
}

// ID is the instance's name.
func (i *Instance) ID() string { return i.id }

// Labels gives a copy of the labels of the Spec.
func (i *Instance) Labels() map[string]string { return maps.Clone(i.spec.Labels) }

// Spec gives what the instance was made from. It must not be changed.
func (i *Instance) Spec() Spec { return i.spec }

// State gives the state now.
func (i *Instance) State() State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Done is closed when the instance is gone, or when the Manager that left it running has ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Subscribe gives a channel with the state now and after every change. A slow receiver misses states in between, never the last.
// stop ends it.
func (i *Instance) Subscribe() (states <-chan State, stop func()) {
	ch := make(chan State, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	ch <- i.state
	if i.subs == nil {
		i.subs = map[chan State]struct{}{}
	}
	i.subs[ch] = struct{}{}
	return ch, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.subs, ch)
	}
}

func (i *Instance) publish(s State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state = s
	for ch := range i.subs {
		select {
		case <-ch: // the receiver has not seen the one before
		default:
		}
		ch <- s // only this function sends, under the lock
	}
}

// WaitReady waits until the instance is ready. The error says why it never will be, wraps ErrGone, or is ctx's.
func (i *Instance) WaitReady(ctx context.Context) error {
	states, stop := i.Subscribe()
	defer stop()
	for {
		select {
		case s := <-states:
			switch {
			case s.Ready:
				return nil
			case s.Phase == PhaseGone || s.Phase == PhaseDraining:
				return fmt.Errorf("instance %s: %w: %s: %s", i.id, ErrGone, s.Reason, s.Message)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask has the owner run f and gives its error.
func (i *Instance) ask(ctx context.Context, f func(*life) error) error {
	reply := make(chan error, 1)
	select {
	case i.mail <- func(l *life) { reply <- f(l) }:
	case <-i.done:
		return fmt.Errorf("instance %s: %w", i.id, ErrGone)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Start wakes a spare. It returns when user code has been let run, not when it is ready. Starting a running instance does nothing,
// a frozen one is thawed; ErrPhase if it drains or is gone.
func (i *Instance) Start(ctx context.Context) error {
	return i.ask(ctx, (*life).start)
}

// Freeze stops every process in place. The instance must be running; ErrPhase otherwise. Freezing a frozen one does nothing.
func (i *Instance) Freeze(ctx context.Context) error {
	return i.ask(ctx, func(l *life) error { return l.freeze(ctx) })
}

// Thaw lets a frozen instance run again; it is as ready as it was. Thawing a running one does nothing.
func (i *Instance) Thaw(ctx context.Context) error {
	return i.ask(ctx, func(l *life) error { return l.thaw(ctx) })
}

// Stop ends the instance: SIGTERM, SIGKILL after grace (negative: Spec.Grace, zero: at once), and everything is removed but the
// logs. It returns when the instance is gone or ctx ends; the stop goes on then. A second call can only shorten the grace.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) error {
	err := i.ask(ctx, func(l *life) error { l.stop(grace, ReasonStopped, ""); return nil })
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-i.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Dial connects to a port of the instance over its loopback interface. A port on which nothing listens is ECONNREFUSED at once.
func (i *Instance) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	select {
	case <-i.done:
		return nil, fmt.Errorf("instance %s: %w", i.id, ErrGone)
	default:
	}
	conn, err := i.m.dialer.Dial(ctx, i.sockets.Namespace, port)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", i.id, err)
	}
	return conn, nil
}

// Usage reads what the instance uses.
func (i *Instance) Usage() (Usage, error) {
	u, err := i.m.tree.Usage(i.cgroup())
	if err != nil {
		return Usage{}, fmt.Errorf("reading the usage of instance %s: %w", i.id, err)
	}
	return Usage{Time: time.Now(), CPU: u.CPU, MemoryBytes: u.MemoryBytes, Pids: u.Pids}, nil
}

// cgroup is the group of the whole instance; each container has one below.
func (i *Instance) cgroup() string { return filepath.Join(i.m.cfg.CgroupParent, i.id) }

// LogDir is where the log of the instance is, to be read with package logs. It outlives the instance.
func (i *Instance) LogDir() string { return i.m.LogDir(i.id) }

// LogDir is where the log of an instance is, also of one that is gone.
func (m *Manager) LogDir(id string) string { return filepath.Join(m.cfg.Dir, "logs", id) }
