package daemon

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// Logs reads the log of a container, and follows it where that is asked for.
func (i instances) Logs(ctx context.Context, namespace, pod, container string, o api.LogOptions) (io.ReadCloser, error) {
	found, err := i.controller.PodLog(ctx, namespace, pod, container)
	if err != nil {
		return nil, err
	}
	query := logQuery(found.Container, o)
	if query.From, query.Until, err = period(found.Status, pod, found.Container, o); err != nil {
		return nil, err
	}
	if found.Container == requestContainer {
		found.Dir = i.requests.logDir(requestKey(namespace, pod))
	}
	if !o.Follow {
		found.Done = nil
	}
	return logs.Open(ctx, found.Dir, found.Done, query), nil
}

// Ended gives the pods of a service that are gone and whose logs can still be read.
func (i instances) Ended(ctx context.Context, namespace, service string) ([]corev1.Pod, error) {
	return i.controller.Ended(ctx, namespace, service)
}

// logQuery says the options of the API in the words of the log.
func logQuery(container string, o api.LogOptions) logs.Query {
	q := logs.Query{Container: container, LimitBytes: o.LimitBytes, Timestamps: o.Timestamps}
	if o.TailLines >= 0 {
		q.Last = &o.TailLines
	}
	if o.Stdout != o.Stderr {
		q.Streams = []logs.Stream{logs.Stdout}
		if o.Stderr {
			q.Streams = []logs.Stream{logs.Stderr}
		}
	}
	return q
}

// period is when the run of the container that is meant was: the one before the last one, or the last one. A container of nobody has
// one run.
func period(c *sandbox.ContainerStatus, pod, container string, o api.LogOptions) (from, until time.Time, err error) {
	if c == nil || c.Last == nil {
		if o.Previous {
			return from, until, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod))
		}
		return o.Since, until, nil
	}
	// A run's words are read to their end a moment after the run itself: the next run's start is the border.
	next := time.Time{}
	if c.StartedAt.After(c.Last.Started) {
		next = c.StartedAt
	}
	if o.Previous {
		return later(o.Since, c.Last.Started), next, nil
	}
	return later(o.Since, next), until, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
