package controller

import (
	"context"
	"time"

	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

const (
	// newcomerPoll is how often it is looked whether there is room for a new service, newcomerLatest how long one waits for it at most.
	newcomerPoll, newcomerLatest = 2 * time.Millisecond, 200 * time.Millisecond
)

// isNew tells a service of which nothing was told yet. It may have been begun.
func isNew(service *v1.Service) bool {
	return service.Status.ObservedGeneration == 0 && service.DeletionTimestamp == nil
}

// reconcileNewcomer begins a new service when those before it have got far enough. A service goes through many queues, several times through
// some: without this, what is to be done for the first of a thousand stands behind what is to be begun for all of them, and none is ready
// before nearly all are.
func (c *Controller) reconcileNewcomer(ctx context.Context, k key) error {
	tick := time.NewTicker(newcomerPoll)
	defer tick.Stop()
	latest := time.NewTimer(newcomerLatest)
	defer latest.Stop()
	for waits := true; waits && c.onTheWay() >= backlogAt; {
		select {
		case <-tick.C:
		case <-latest.C:
			waits = false
		case <-ctx.Done():
			return nil
		}
	}
	c.serviceQueue.add(k)
	return nil
}
