package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// serviceLabel and revisionLabel are on everything that belongs to a service and to a revision.
const (
	serviceLabel  = "serving.knative.dev/service"
	revisionLabel = "serving.knative.dev/revision"
)

// follow prints what the instances of a service write, also those that come later, until ctx ends.
func (c *client) follow(ctx context.Context, namespace, service string, out io.Writer) error {
	return c.followLogs(ctx, logQuery{namespace: namespace, selector: serviceLabel + "=" + service}, out)
}

// followLogs is follow for any query. Instances that come later are shown from their first line.
func (c *client) followLogs(ctx context.Context, query logQuery, out io.Writer) error {
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		started = map[logSource]bool{}
	)
	defer group.Wait()
	show := func(pod *corev1.Pod, options corev1.PodLogOptions) {
		if pod.Status.Phase == corev1.PodPending {
			return
		}
		for _, source := range query.sources(pod) {
			if !started[source] {
				started[source] = true
				group.Go(func() { c.copyLog(ctx, source, options, query, &mu, out) })
			}
		}
	}
	first := query.options
	first.Follow = true
	later := corev1.PodLogOptions{Follow: true, Timestamps: first.Timestamps}
	for ctx.Err() == nil {
		pods, err := c.kube.CoreV1().Pods(query.namespace).List(ctx, query.listOptions())
		if err != nil {
			return endedBy(ctx, fmt.Errorf("follow the logs: %w", err))
		}
		for i := range pods.Items {
			show(&pods.Items[i], first)
		}
		watchOptions := query.listOptions()
		watchOptions.ResourceVersion = pods.ResourceVersion
		changes, err := c.kube.CoreV1().Pods(query.namespace).Watch(ctx, watchOptions)
		if err != nil {
			return endedBy(ctx, fmt.Errorf("follow the logs: %w", err))
		}
		for event := range changes.ResultChan() {
			if pod, isPod := event.Object.(*corev1.Pod); isPod && event.Type != watch.Deleted {
				show(pod, later)
			}
		}
		changes.Stop()
		first = later
	}
	return nil
}

// endedBy drops an error that only says that the context ended.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// copyLog prints one log line by line; a line is never mixed with one of another instance.
func (c *client) copyLog(ctx context.Context, source logSource, options corev1.PodLogOptions, query logQuery, mu *sync.Mutex, out io.Writer) {
	lines, err := c.openLog(ctx, source, options)
	if err != nil {
		if ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			query.problem(err)
		}
		return
	}
	defer lines.close()
	for lines.next() {
		mu.Lock()
		_, err := out.Write(query.render(source, lines.line))
		mu.Unlock()
		if err != nil {
			return
		}
	}
}

// listOptions select the instances of a query.
func (q logQuery) listOptions() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: q.selector, FieldSelector: q.field}
}

// took spells a duration for people: 12ms, 1.4s.
func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
