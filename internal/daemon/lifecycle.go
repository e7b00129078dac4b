package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is one component on its way through start, run and stop.
type part struct {
	name string
	// after names the parts that have to be ready before this one starts.
	after []string
	// run blocks until its context ends and everything it started is gone; it calls ready once when it serves.
	run func(ctx context.Context, ready func()) error
	// drain is how long run may take to return after its context ended.
	drain time.Duration

	cancel context.CancelCauseFunc // nil until the part is started
	ready  chan struct{}
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

// lifecycle starts each part when those it comes after are ready, and stops them one by one, the last added first.
type lifecycle struct {
	logger *slog.Logger
	parts  []*part
}

// add puts a part behind those that were added before it. It starts when the parts it names are ready; those which are not there
// (they may be disabled) and those added later do not count.
func (l *lifecycle) add(name string, drain time.Duration, run func(ctx context.Context, ready func()) error, after ...string) {
	l.parts = append(l.parts, &part{name: name, run: run, drain: drain, after: after})
}

// names gives the parts there are, for one that comes after all of them.
func (l *lifecycle) names() []string {
	names := make([]string, len(l.parts))
	for i, p := range l.parts {
		names[i] = p.name
	}
	return names
}

// run starts everything, calls ready, and blocks until ctx ends or a part fails. All errors name their part.
func (l *lifecycle) run(ctx context.Context, ready func()) error {
	failed := make(chan *part, len(l.parts))
	err := l.startAll(ctx, failed)
	if err == nil {
		ready()
		select {
		case <-ctx.Done():
		case p := <-failed:
			err = p.failure()
			l.logger.Error("component failed", "component", p.name, "err", err)
		}
	}
	return errors.Join(err, l.stop(slices.DeleteFunc(slices.Clone(l.parts), func(p *part) bool { return p.cancel == nil })))
}

// startAll starts the parts, each as soon as it may, and waits until all are ready or one has failed.
func (l *lifecycle) startAll(ctx context.Context, failed chan<- *part) error {
	starting, ctx := errgroup.WithContext(ctx)
	for i, p := range l.parts {
		p.ready, p.done = make(chan struct{}), make(chan struct{})
		before := slices.DeleteFunc(slices.Clone(l.parts[:i]), func(b *part) bool { return !slices.Contains(p.after, b.name) })
		starting.Go(func() error {
			for _, b := range before {
				select {
				case <-b.ready:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return l.start(ctx, p, failed)
		})
	}
	return starting.Wait()
}

// start runs one part and waits until it is ready, has failed, or the daemon is told to stop.
func (l *lifecycle) start(ctx context.Context, p *part, failed chan<- *part) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	begin := time.Now()
	var partCtx context.Context
	partCtx, p.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	var once sync.Once
	go func() {
		defer close(p.done)
		p.err = p.run(partCtx, func() { once.Do(func() { close(p.ready) }) })
		if partCtx.Err() == nil {
			failed <- p
		}
	}()
	select {
	case <-p.ready:
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
	for _, p := range slices.Backward(parts) {
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
