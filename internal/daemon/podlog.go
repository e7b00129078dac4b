package daemon

import (
	"context"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// Logs reads the log of a container, and follows it where that is asked for.
func (i instances) Logs(ctx context.Context, namespace, pod, container string, o api.LogOptions) (io.ReadCloser, error) {
	dir, name, done, err := i.controller.LogDir(namespace, pod, container)
	if err != nil {
		return nil, err
	}
	from, to, err := i.period(namespace, pod, name, o)
	if err != nil {
		return nil, err
	}
	if name == requestContainer {
		dir = i.requests.logDir(requestKey(namespace, pod))
	}
	chosen := podLog{dir: dir, container: name, from: from, to: to, options: o}
	if o.TailLines >= 0 {
		if chosen.skip, err = chosen.linesBefore(ctx, o.TailLines); err != nil {
			return nil, err
		}
	}
	if !o.Follow {
		done = closedChannel()
	}
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		writer.CloseWithError(chosen.copyTo(ctx, writer, done))
	}()
	return &cancelReader{reader, cancel}, nil
}

// period is when the run of the container that is meant was: the one before the current one, or the current one.
func (i instances) period(namespace, pod, container string, o api.LogOptions) (from, to time.Time, err error) {
	from = o.Since
	instance, err := i.controller.Pod(namespace, pod)
	if err != nil {
		// An instance that is gone has left its log; which run wrote what is not known any more.
		return from, to, nil //nolint:nilerr // the log was found
	}
	state := instance.State()
	for _, c := range append(append([]sandbox.ContainerStatus{}, state.Init...), state.Containers...) {
		if c.Name != container {
			continue
		}
		if o.Previous && c.Last == nil {
			return from, to, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod))
		}
		// A run's words are read to their end a moment after the run itself: the next run's start is the border.
		next := time.Time{}
		if c.Last != nil && c.StartedAt.After(c.Last.Started) {
			next = c.StartedAt
		}
		if o.Previous {
			from, to = later(from, c.Last.Started), next
		} else {
			from = later(from, next)
		}
	}
	return from, to, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// cancelReader ends the goroutine that feeds it when it is closed.
type cancelReader struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the reader and what feeds it.
func (r *cancelReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}

// podLog is the part of an instance's log that was asked for.
type podLog struct {
	dir, container string
	// from and to bound the time of the records; zero values do not.
	from, to time.Time
	// skip is how many lines are left out at the beginning.
	skip    int64
	options api.LogOptions
}

// wants tells whether a record is of the container, streams and time that were asked for.
func (p *podLog) wants(r logs.Record) bool {
	stream := p.options.Stdout && r.Stream == logs.Stdout || p.options.Stderr && r.Stream == logs.Stderr
	return stream && r.Container == p.container &&
		!r.Time.Before(p.from) && (p.to.IsZero() || !r.Time.After(p.to))
}

// linesBefore counts the lines that come before the last tail ones.
func (p *podLog) linesBefore(ctx context.Context, tail int64) (int64, error) {
	var lines int64
	err := logs.Follow(ctx, p.dir, closedChannel(), func(r logs.Record) bool {
		if p.wants(r) && !r.Partial {
			lines++
		}
		return true
	})
	return max(0, lines-tail), err
}

// copyTo writes the lines as kubectl shows them, until done is closed and the log is read, or ctx ends.
func (p *podLog) copyTo(ctx context.Context, w io.Writer, done <-chan struct{}) error {
	var (
		written int64
		failed  error
		skip    = p.skip
		inLine  bool
	)
	err := logs.Follow(ctx, p.dir, done, func(r logs.Record) bool {
		if !p.wants(r) {
			return true
		}
		if skip > 0 {
			if !r.Partial {
				skip--
			}
			return true
		}
		text := p.format(r, inLine)
		inLine = r.Partial
		if limit := p.options.LimitBytes; limit > 0 && written+int64(len(text)) > limit {
			text = text[:limit-written]
			_, failed = w.Write(text)
			return false
		}
		written += int64(len(text))
		_, failed = w.Write(text)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// format is a record as text: with its time in front, unless it goes on with a line, and a newline, unless the line goes on.
func (p *podLog) format(r logs.Record, inLine bool) []byte {
	text := make([]byte, 0, len(r.Data)+40)
	if p.options.Timestamps && !inLine {
		text = append(r.Time.UTC().AppendFormat(text, time.RFC3339Nano), ' ')
	}
	text = append(text, r.Data...)
	if !r.Partial {
		text = append(text, '\n')
	}
	return text
}
