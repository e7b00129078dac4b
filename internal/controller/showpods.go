package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// showPatience bounds how long who asks for logs waits for pods to be written.
const showPatience = 2 * time.Second

// showPods has the API show the instances of a service that run: it is told of a change of scale a moment after the first answer, and
// who looks for the log of an instance may be quicker.
func (c *Controller) showPods(ctx context.Context, namespace, service string) error {
	revisions, err := indexed[*v1.Revision](c.informers.revisions, byConfiguration, namespace, service)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, showPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ; asked = true {
		hidden := false
		for _, rev := range revisions {
			if c.podsShown(rev) {
				continue
			}
			hidden = true
			if !asked {
				c.viewQueue.addName(rev.Namespace, rev.Name)
			}
		}
		if !hidden {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // what is shown is what there is to be told
		}
	}
}

// podsShown says whether the API shows every running instance of a revision as running.
func (c *Controller) podsShown(rev *v1.Revision) bool {
	one := c.scalers.get(backendName(rev.Namespace, rev.Name))
	if one == nil {
		return true
	}
	state := one.seen.Load()
	if state == nil {
		return true
	}
	for i := range state.pods {
		p := &state.pods[i]
		if p.leaving || p.started.IsZero() {
			continue
		}
		pod, err := c.listers.pods.Pods(rev.Namespace).Get(p.name)
		if err != nil || pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "" {
			return false
		}
	}
	return true
}
