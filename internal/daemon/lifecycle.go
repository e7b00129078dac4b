package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// part is one component on its way through start, run and stop.
type part struct {
	name string
	// run blocks until its context ends and everything it started is gone; it calls ready once when it serves.
	run func(ctx context.Context, ready func()) error
	// drain is how long run may take to return after its context ended.
	drain time.Duration

	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error
}

// once makes a part of something that is done when its turn comes and leaves nothing running.
func once(do func(context.Context) error) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		if err := do(ctx); err != nil {
			return err
		}
		ready()
		<-ctx.Done()
		return nil
	}
}

var errStopping = errors.New("the daemon stops")

// lifecycle starts parts in order, each when the one before is ready, and stops them in reverse order.
type lifecycle struct {
	logger *slog.Logger
	parts  []*part
}

func (l *lifecycle) add(name string, drain time.Duration, run func(ctx context.Context, ready func()) error) {
	l.parts = append(l.parts, &part{name: name, run: run, drain: drain})
}

// run starts everything, calls ready, and blocks until ctx ends or a part fails. All errors name their part.
func (l *lifecycle) run(ctx context.Context, ready func()) error {
	failed := make(chan *part, len(l.parts))
	started := 0
	var err error
	for _, p := range l.parts {
		if err = l.start(ctx, p, failed); err != nil {
			started++
			break
		}
		started++
	}
	if err == nil {
		ready()
		select {
		case <-ctx.Done():
		case p := <-failed:
			err = p.failure()
			l.logger.Error("component failed", "component", p.name, "err", err)
		}
	}
	return errors.Join(err, l.stop(l.parts[:started]))
}

// start runs one part and waits until it is ready, has failed, or the daemon is told to stop.
func (l *lifecycle) start(ctx context.Context, p *part, failed chan<- *part) error {
	begin := time.Now()
	partCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	p.cancel, p.done = cancel, make(chan struct{})
	ready := make(chan struct{})
	var once sync.Once
	go func() {
		defer close(p.done)
		p.err = p.run(partCtx, func() { once.Do(func() { close(ready) }) })
		if partCtx.Err() == nil {
			failed <- p
		}
	}()
	select {
	case <-ready:
		l.logger.Debug("component ready", "component", p.name, "duration", time.Since(begin))
		return nil
	case <-p.done:
		return p.failure()
	case <-ctx.Done():
		return fmt.Errorf("stopped while %s was starting: %w", p.name, context.Cause(ctx))
	}
}

// failure describes a part that ended although nobody stopped it.
func (p *part) failure() error {
	if p.err == nil {
		return fmt.Errorf("%s ended by itself", p.name)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}

// stop ends parts in reverse order and names those that do not end in their drain time; those are left behind, so
// the process has to exit after it.
func (l *lifecycle) stop(parts []*part) error {
	var errs []error
	for i := len(parts) - 1; i >= 0; i-- {
		p := parts[i]
		alreadyOver := isClosed(p.done)
		p.cancel(errStopping)
		timer := time.NewTimer(p.drain)
		select {
		case <-p.done:
			if !alreadyOver && p.err != nil && !errors.Is(p.err, context.Canceled) && !errors.Is(p.err, errStopping) {
				errs = append(errs, fmt.Errorf("stopping %s: %w", p.name, p.err))
			}
			l.logger.Debug("component stopped", "component", p.name)
		case <-timer.C:
			errs = append(errs, fmt.Errorf("%s did not stop within %v", p.name, p.drain))
			l.logger.Error("component does not stop", "component", p.name, "drain", p.drain)
		}
		timer.Stop()
	}
	return errors.Join(errs...)
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
