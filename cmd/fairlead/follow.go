package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// serviceLabel and revisionLabel are on everything that belongs to a service and to a revision.
const (
	serviceLabel  = "serving.knative.dev/service"
	revisionLabel = "serving.knative.dev/revision"
)

// daemonAway is how long following goes on without a daemon, as while one takes over from another.
const daemonAway = 5 * time.Second

// follow prints what the instances of a service write from when it begins, also those that come later, until ctx ends.
func (c *client) follow(ctx context.Context, namespace, service string, out io.Writer) error {
	return c.followLogs(ctx, logQuery{namespace: namespace, selector: serviceLabel + "=" + service, past: []string{service}}, out)
}

// followLogs prints what the instances of a query write until ctx ends, each line once: those that are there from their first line
// (with history: from where the query begins, after those that are gone), those that come later from their first line. Instances
// that come and go, and a daemon that takes over from another, lose and double nothing.
func (c *client) followLogs(ctx context.Context, query logQuery, out io.Writer) error {
	f := &follower{client: c, query: query, out: out, logs: map[logSource]*followed{}, again: make(chan struct{}, 1)}
	defer f.group.Wait()
	ctx, cancel := context.WithCancel(ctx) // nobody reads on when this returns
	defer cancel()
	if err := f.begin(ctx); err != nil {
		return endedBy(ctx, err)
	}
	var away time.Time // since when there is no daemon
	for ctx.Err() == nil {
		version, err := f.look(ctx)
		switch {
		case err == nil:
			away = time.Time{}
		case away.IsZero():
			away = time.Now()
			fallthrough
		case time.Since(away) < daemonAway:
			pause(ctx, 100*time.Millisecond)
			continue
		default:
			return endedBy(ctx, fmt.Errorf("follow the logs: %w", err))
		}
		f.watch(ctx, version)
	}
	return nil
}

// whileDisconnected does something again while all that is known is that a connection ended, for as long as a daemon may be away.
func whileDisconnected(ctx context.Context, do func() error) error {
	for begin := time.Now(); ; {
		err := do()
		if !disconnected(err) || time.Since(begin) >= daemonAway || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// follower prints the logs of instances as they come and go.
type follower struct {
	client *client
	query  logQuery
	group  sync.WaitGroup
	again  chan struct{} // asks for another look

	mu   sync.Mutex // guards the fields below
	out  io.Writer
	logs map[logSource]*followed
}

// followed is how far a log has been printed: through so many lines of the time at.
type followed struct {
	reading bool
	at      time.Time
	lines   int
}

// passed notes a line and tells whether it is a new one.
func (d *followed) passed(at time.Time) {
	if !at.Equal(d.at) {
		d.at, d.lines = at, 0
	}
	d.lines++
}

// begin prints what is there, where history is wanted, and otherwise notes what is gone, so that it is not shown.
func (f *follower) begin(ctx context.Context) error {
	if !f.query.history {
		var gone []corev1.Pod
		err := whileDisconnected(ctx, func() (err error) {
			gone, err = f.client.endedPods(ctx, f.query)
			return err
		})
		for i := range gone {
			for _, source := range f.query.sources(&gone[i]) {
				f.logs[source] = &followed{reading: true}
			}
		}
		return err
	}
	var pods []corev1.Pod
	err := whileDisconnected(ctx, func() (err error) {
		pods, _, err = f.client.loggedPods(ctx, f.query)
		return err
	})
	if err != nil {
		return err
	}
	options := f.query.options
	if options.TailLines != nil {
		options.TailLines = new(max(*options.TailLines, 1)) // one line, to know where to go on
	}
	logs, _ := f.client.openLogs(ctx, f.query, pods, options)
	defer closeLogs(logs)
	for _, l := range logs {
		f.logs[l.source] = &followed{}
	}
	w := lineWriter{query: f.query, timestamps: f.query.options.Timestamps, last: f.query.options.TailLines, out: f.out}
	err = mergeLogs(logs, func(l *stampedLog) error {
		f.logs[l.source].passed(l.at)
		return w.add(l)
	})
	if err != nil {
		return err
	}
	return w.flush()
}

// look begins to read every log that is not read yet, and gives the version of the list.
func (f *follower) look(ctx context.Context) (string, error) {
	pods, version, err := f.client.loggedPods(ctx, f.query)
	if err != nil {
		return "", err
	}
	for i := range pods {
		f.show(ctx, &pods[i])
	}
	return version, nil
}

// watch waits for instances that come and go until the watch ends.
func (f *follower) watch(ctx context.Context, version string) {
	options := f.query.listOptions()
	options.ResourceVersion = version
	changes, err := f.client.kube.CoreV1().Pods(f.query.namespace).Watch(ctx, options)
	if err != nil {
		pause(ctx, 100*time.Millisecond)
		return
	}
	defer changes.Stop()
	for {
		var event watch.Event
		select {
		case event = <-changes.ResultChan():
		case <-f.again:
			pause(ctx, 500*time.Millisecond)
			return
		}
		pod, isPod := event.Object.(*corev1.Pod)
		switch {
		case !isPod: // the end, or an error
			return
		case event.Type == watch.Deleted:
			// One that came and went between two looks at it has left its log.
			gone, err := f.client.endedPods(ctx, f.query)
			if err != nil {
				return
			}
			for i := range gone {
				f.show(ctx, &gone[i])
			}
		case pod.Status.Phase != corev1.PodPending:
			f.show(ctx, pod)
		}
	}
}

// show reads the logs of an instance that are not being read.
func (f *follower) show(ctx context.Context, pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, source := range f.query.sources(pod) {
		done := f.logs[source]
		if done == nil {
			done = &followed{}
			f.logs[source] = done
		}
		if done.reading {
			continue
		}
		done.reading = true
		over := pod.Status.Phase != corev1.PodRunning
		f.group.Go(func() { f.read(ctx, source, done, over) })
	}
}

// read reads a log to its end. Where that is not the end of the instance, only the connection may have broken, or the API has not
// heard yet: it is looked at again.
func (f *follower) read(ctx context.Context, source logSource, done *followed, over bool) {
	err := f.copy(ctx, source, done)
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if over {
		if err != nil && !apierrors.IsNotFound(err) {
			f.query.problem(err)
		}
		return
	}
	done.reading = false
	select {
	case f.again <- struct{}{}:
	default: // it has been asked for
	}
}

// copy prints one log line by line, from where it has been printed to; a line is never mixed with one of another instance.
func (f *follower) copy(ctx context.Context, source logSource, done *followed) error {
	options := f.query.options
	options.Follow, options.Timestamps, options.TailLines = true, true, nil
	from := *done // no other goroutine touches it while reading is set
	if !from.at.IsZero() {
		options.SinceSeconds, options.SinceTime = nil, &metav1.Time{Time: from.at.Truncate(time.Second)}
	}
	lines, err := f.client.openLog(ctx, source, options)
	if err != nil {
		return err
	}
	defer lines.close()
	l := &stampedLog{logLines: lines, source: source}
	for l.next() {
		if l.at.Before(from.at) {
			continue
		}
		if l.at.Equal(from.at) && from.lines > 0 {
			from.lines--
			continue
		}
		text := l.text
		if f.query.options.Timestamps {
			text = l.line
		}
		f.mu.Lock()
		done.passed(l.at)
		_, err := f.out.Write(f.query.render(source, text))
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return l.err
}

// endedBy drops an error that only says that the context ended.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// took spells a duration for people: 12ms, 1.4s.
func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
