package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// serviceLabel is on everything that belongs to a service.
const serviceLabel = "serving.knative.dev/service"

// longestLine is the most of one line of log that is shown at once, in bytes.
const longestLine = 1 << 20

// follow prints what the instances of a service write, also those that come later, until ctx ends.
func (c *client) follow(ctx context.Context, namespace, service string, out io.Writer) error {
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		started = map[string]bool{}
	)
	defer group.Wait()
	show := func(pod *corev1.Pod) {
		if started[pod.Name] || pod.Status.Phase == corev1.PodPending {
			return
		}
		started[pod.Name] = true
		group.Go(func() { c.copyLog(ctx, pod, &mu, out) })
	}
	options := metav1.ListOptions{LabelSelector: serviceLabel + "=" + service}
	for ctx.Err() == nil {
		pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return endedBy(ctx, fmt.Errorf("follow the logs of %s: %w", service, err))
		}
		for i := range pods.Items {
			show(&pods.Items[i])
		}
		watchOptions := options
		watchOptions.ResourceVersion = pods.ResourceVersion
		changes, err := c.kube.CoreV1().Pods(namespace).Watch(ctx, watchOptions)
		if err != nil {
			return endedBy(ctx, fmt.Errorf("follow the logs of %s: %w", service, err))
		}
		for event := range changes.ResultChan() {
			if pod, isPod := event.Object.(*corev1.Pod); isPod && event.Type != watch.Deleted {
				show(pod)
			}
		}
		changes.Stop()
	}
	return nil
}

// endedBy drops an error that only says that the context ended.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// copyLog prints the log of one instance line by line; a line is never mixed with one of another instance.
func (c *client) copyLog(ctx context.Context, pod *corev1.Pod, mu *sync.Mutex, out io.Writer) {
	container := ""
	if len(pod.Spec.Containers) > 0 {
		container = pod.Spec.Containers[0].Name
	}
	stream, err := c.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container, Follow: true}).Stream(ctx)
	if err != nil {
		if ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(out, "(no log of instance %s: %v)\n", pod.Name, err)
		}
		return
	}
	defer stream.Close()
	lines := bufio.NewReaderSize(stream, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			mu.Lock()
			_, writeErr := out.Write(line)
			mu.Unlock()
			if writeErr != nil {
				return
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// took spells a duration for people: 12ms, 1.4s.
func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
