package kinds

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addParameters lets the options of pods' subresources be read from query parameters.
func addParameters(s *runtime.Scheme) error {
	for _, err := range []error{
		addParameter(s, &corev1.PodLogOptions{}, func(q *query, o *corev1.PodLogOptions) { q.logOptions(o) }),
		addParameter(s, &corev1.PodExecOptions{}, func(q *query, o *corev1.PodExecOptions) {
			o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
			o.Container, o.Command = q.Get("container"), q.Values["command"]
		}),
		addParameter(s, &corev1.PodAttachOptions{}, func(q *query, o *corev1.PodAttachOptions) {
			o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
			o.Container = q.Get("container")
		}),
		addParameter(s, &corev1.PodPortForwardOptions{}, func(q *query, o *corev1.PodPortForwardOptions) {
			for _, port := range q.Values["ports"] {
				n, err := strconv.ParseInt(port, 10, 32)
				q.note("ports", port, err)
				o.Ports = append(o.Ports, int32(n))
			}
		}),
	} {
		if err != nil {
			return fmt.Errorf("kinds: register parameters: %w", err)
		}
	}
	return nil
}

// query reads values and keeps the first error.
type query struct {
	url.Values
	err error
}

func addParameter[T any](s *runtime.Scheme, object *T, read func(*query, *T)) error {
	return s.AddConversionFunc((*url.Values)(nil), object, func(from, to any, _ conversion.Scope) error {
		q := &query{Values: *from.(*url.Values)}
		read(q, to.(*T))
		return q.err
	})
}

func (q *query) note(name, value string, err error) {
	if err != nil && q.err == nil {
		q.err = fmt.Errorf("parameter %s=%q: %w", name, value, err)
	}
}

func (q *query) flag(name string) bool {
	if !q.Has(name) {
		return false
	}
	switch value := q.Get(name); value {
	case "false", "0":
		return false
	default:
		return true
	}
}

func (q *query) number(name string) *int64 {
	if q.Get(name) == "" {
		return nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	q.note(name, q.Get(name), err)
	return &n
}

func (q *query) logOptions(o *corev1.PodLogOptions) {
	o.Container = q.Get("container")
	o.Follow, o.Previous, o.Timestamps = q.flag("follow"), q.flag("previous"), q.flag("timestamps")
	o.SinceSeconds, o.TailLines, o.LimitBytes = q.number("sinceSeconds"), q.number("tailLines"), q.number("limitBytes")
	if since := q.Get("sinceTime"); since != "" {
		t, err := time.Parse(time.RFC3339, since)
		q.note("sinceTime", since, err)
		o.SinceTime = &metav1.Time{Time: t}
	}
	if stream := q.Get("stream"); stream != "" {
		o.Stream = &stream
	}
}
