package controller

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// Woke records a wake that a request waited for as an event of its revision, so that `describe` tells where the time
// went. It neither blocks nor asks the API; package gateway calls it after the first byte. Many wakes in a row become
// one event with a count, as the API's events do.
func (c *Controller) Woke(trace gateway.WakeTrace) {
	namespace, name, found := strings.Cut(trace.Backend, "/")
	if !found {
		return
	}
	revision, err := c.listers.revisions.Revisions(namespace).Get(name)
	if err != nil {
		return // gone since
	}
	c.events.Event(revision, corev1.EventTypeNormal, "Woken", describeWake(trace))
}

// describeWake says where the time of a wake went: steps that did not happen are left out.
func describeWake(t gateway.WakeTrace) string {
	var steps []string
	last := t.Asked
	step := func(what string, at time.Time) {
		if at.IsZero() || last.IsZero() || at.Before(last) {
			return
		}
		steps = append(steps, fmt.Sprintf("%s %s", what, inMillis(at.Sub(last))))
		last = at
	}
	step("queue", t.Woken)
	step("create", t.Created)
	step("start", t.Started)
	step("ready", t.Ready)
	step("release", t.Released)
	step("first byte", t.FirstByte)
	from := "an instance made for it"
	if t.Spare {
		from = "a spare"
	}
	total := last.Sub(t.Asked)
	if t.Asked.IsZero() || len(steps) == 0 {
		return "Woken from " + from
	}
	return fmt.Sprintf("Woken from %s in %s: %s", from, inMillis(total), strings.Join(steps, ", "))
}

// inMillis spells a duration in milliseconds with one decimal.
func inMillis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
