package controller

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestNewcomersWait holds that a new service is begun when those before it have got far enough, or after a while, and that no other waits.
func TestNewcomersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Controller{now: time.Now, log: slog.New(slog.DiscardHandler)}
		c.makeQueues()
		defer func() {
			for q := range c.queues() {
				q.stop()
			}
		}()
		begin := func(name string) (took time.Duration) {
			started := time.Now()
			if err := c.reconcileNewcomer(t.Context(), key{Namespace: "n", Name: name}); err != nil {
				t.Fatal(err)
			}
			k, _ := c.serviceQueue.work.Get()
			c.serviceQueue.work.Done(k)
			if k.Name != name {
				t.Errorf("%s is begun in the place of %s", k.Name, name)
			}
			return time.Since(started)
		}
		if took := begin("alone"); took != 0 {
			t.Errorf("a service waits %s for nothing", took)
		}
		for i := range backlogAt {
			c.routeQueue.addName("n", string(rune('a'+i)))
		}
		if !c.backlogged() {
			t.Error("what waits is no backlog")
		}
		if took := begin("patient"); took != newcomerLatest {
			t.Errorf("a service waits %s while nothing goes on, want %s", took, newcomerLatest)
		}
		time.AfterFunc(50*time.Millisecond, func() {
			k, _ := c.routeQueue.work.Get()
			c.routeQueue.work.Done(k)
		})
		if took := begin("next"); took < 50*time.Millisecond || took > 50*time.Millisecond+newcomerPoll {
			t.Errorf("a service is begun %s after it came, and there was room after 50ms", took)
		}
		for i := range backlogAt {
			c.newcomerQueue.addName("n", string(rune('a'+i)))
		}
		if !c.backlogged() {
			t.Error("new services that wait are no backlog")
		}
	})
}

// TestNewcomers holds which services count as new.
func TestNewcomers(t *testing.T) {
	told, going := &v1.Service{}, &v1.Service{}
	told.Status.ObservedGeneration = 1
	going.DeletionTimestamp = &metav1.Time{}
	if !isNew(&v1.Service{}) || isNew(told) || isNew(going) {
		t.Error("a service that nothing was told of is not new, or another is")
	}
}
