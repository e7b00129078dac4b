package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestWritten holds that a reconciliation starts from the newest state of an object that is known: what was written itself, until the
// informer has that or something newer.
func TestWritten(t *testing.T) {
	revision := func(uid, version string) *v1.Revision {
		return &v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", UID: types.UID(uid), ResourceVersion: version}}
	}
	w := newWritten[*v1.Revision]()
	w.keep(revision("a", "10"))
	for _, step := range []struct{ what, uid, held, want string }{
		{"the informer is behind", "a", "9", "10"},
		{"it still is", "a", "9", "10"},
		{"it has what was written", "a", "10", "10"},
		{"what was written is forgotten", "a", "9", "9"},
	} {
		if got := w.newer(revision(step.uid, step.held)).ResourceVersion; got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
	}
	w.keep(revision("a", "10"))
	if got := w.newer(revision("b", "9")); got.UID != "b" {
		t.Error("an object of the same name is taken for the one that was written")
	}
	w.keep(revision("a", "10"))
	w.forget(key{Namespace: "n", Name: "r"})
	if len(w.objects) != 0 {
		t.Error("an object that is gone is remembered")
	}
}

// TestUnknownIsPutOff holds that a status is written at once when Ready becomes known, or was, and otherwise after a while.
func TestUnknownIsPutOff(t *testing.T) {
	now := time.Unix(1000, 0)
	c := &Controller{now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
	c.makeQueues()
	w := newWritten[*v1.Revision]()
	k := kind[*v1.Revision]{wrote: w, again: c.revisionQueue}
	revision := func(observed int64, ready corev1.ConditionStatus) *v1.Revision {
		r := &v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", Generation: 2}}
		r.Status.ObservedGeneration = observed
		r.Status.InitializeConditions()
		switch ready {
		case corev1.ConditionTrue:
			r.Status.MarkContainerHealthyTrue()
			r.Status.MarkResourcesAvailableTrue()
		case corev1.ConditionFalse:
			r.Status.MarkContainerHealthyFalse("ExitCode1", "")
		}
		return r
	}
	none, unknown := &v1.Revision{}, revision(2, corev1.ConditionUnknown)
	for _, step := range []struct {
		what       string
		stored     *v1.Revision
		ready      corev1.ConditionStatus
		after      time.Duration
		busy, want bool
	}{
		{"nothing is known yet", none, corev1.ConditionUnknown, 0, false, true},
		{"it is ready", none, corev1.ConditionTrue, 0, false, false},
		{"it has failed", none, corev1.ConditionFalse, 0, false, false},
		{"still nothing is known", unknown, corev1.ConditionUnknown, 0, false, true},
		{"it is not ready any more", revision(2, corev1.ConditionTrue), corev1.ConditionUnknown, 0, false, false},
		{"a new generation", revision(1, corev1.ConditionUnknown), corev1.ConditionUnknown, 0, false, false},
		{"nothing was known for a while", none, corev1.ConditionUnknown, unknownPause, false, false},
		{"but others are on their way, too", none, corev1.ConditionUnknown, 0, true, true},
		{"and something was told", unknown, corev1.ConditionUnknown, 0, true, false},
		{"but not for ever", none, corev1.ConditionUnknown, backlogLatest, true, false},
	} {
		now = now.Add(step.after)
		for i := range backlogAt {
			if step.busy {
				c.routeQueue.addName("n", string(rune('a'+i)))
			}
		}
		if got := putOff(c, k, step.stored, revision(2, step.ready)); got != step.want {
			t.Errorf("%s: put off %t, want %t", step.what, got, step.want)
		}
	}
	w.forget(key{Namespace: "n", Name: "r"})
	if len(w.putOff) != 0 {
		t.Error("an object that is gone is remembered")
	}
	k.awaited = func(*v1.Revision) bool { return true }
	if putOff(c, k, none, unknown) {
		t.Error("a status that others wait for is put off")
	}
}

// TestBehindIsNotTold holds that a reconciliation which only met an informer that was behind is done again, and its half state told to nobody; any other
// error is told at once.
func TestBehindIsNotTold(t *testing.T) {
	c := &Controller{now: time.Now, log: slog.New(slog.DiscardHandler), events: record.NewFakeRecorder(9)}
	c.makeQueues()
	resource := v1.Resource("revisions")
	for _, step := range []struct {
		failed error
		writes int
	}{
		{fmt.Errorf("creating: %w", apierrs.NewAlreadyExists(resource, "r")), 0},
		{apierrs.NewConflict(resource, "r", errors.New("modified")), 0},
		{errors.New("the disk is full"), 1},
	} {
		writes := 0
		k := kind[*v1.Revision]{
			wrote: newWritten[*v1.Revision](), again: c.revisionQueue, copy: (*v1.Revision).DeepCopy,
			status: func(r *v1.Revision) any { return &r.Status },
			update: func(_ context.Context, r *v1.Revision) (*v1.Revision, error) { writes++; return r, nil },
		}
		stored := &v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", Generation: 1}}
		err := process(t.Context(), c, k, stored, func(context.Context, *v1.Revision) error { return step.failed })
		if !errors.Is(err, step.failed) || writes != step.writes {
			t.Errorf("%v: %d writes and error %v, want %d and the error, so that it is done again", step.failed, writes, err, step.writes)
		}
	}
}
