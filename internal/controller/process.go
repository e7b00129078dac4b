package controller

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/reconciler"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
)

// object is a Knative object whose status this package writes.
type object interface {
	duckv1.KRShaped
	runtime.Object
}

// kind says how objects of one kind are copied, compared and written back.
type kind[T object] struct {
	copy func(T) T
	// status gives the whole status, not only its conditions.
	status func(T) any
	// move puts the status of from on onto.
	move   func(from, onto T)
	update func(context.Context, T) (T, error)
	get    func(context.Context, key) (T, error)
	// wrote is what was written lately.
	wrote *written[T]
	// again is where an object is looked at again whose status is put off; nil puts off none.
	again *queue
	// awaited tells the objects whose status others wait for, whatever it says; nil is none.
	awaited func(T) bool
}

// statuses are the objects whose status was written lately, by kind.
type statuses struct {
	services       *written[*v1.Service]
	configurations *written[*v1.Configuration]
	routes         *written[*v1.Route]
	revisions      *written[*v1.Revision]
	mappings       *written[*v1beta1.DomainMapping]
	ingresses      *written[*netv1alpha1.Ingress]
}

func newStatuses() statuses {
	return statuses{
		services: newWritten[*v1.Service](), configurations: newWritten[*v1.Configuration](), routes: newWritten[*v1.Route](),
		revisions: newWritten[*v1.Revision](), mappings: newWritten[*v1beta1.DomainMapping](), ingresses: newWritten[*netv1alpha1.Ingress](),
	}
}

// written remembers the objects of one kind as they were after this program's last write, until the informer has them too. Without it,
// what is reconciled again right after a write starts from the object before it: its next write meets a conflict.
type written[T object] struct {
	mu      sync.Mutex // guards the fields below
	objects map[key]T
	putOff  map[key]time.Time // since when the status of an object waits to be written
}

func newWritten[T object]() *written[T] {
	return &written[T]{objects: map[key]T{}, putOff: map[key]time.Time{}}
}

// newer gives what was written, if that is newer than what the informer holds, or what the informer holds. Neither may be changed.
func (w *written[T]) newer(stored T) T {
	k := key{Namespace: stored.GetNamespace(), Name: stored.GetName()}
	w.mu.Lock()
	defer w.mu.Unlock()
	ours, ok := w.objects[k]
	if !ok {
		return stored
	}
	order, err := resourceversion.CompareResourceVersion(ours.GetResourceVersion(), stored.GetResourceVersion())
	if err == nil && order > 0 && ours.GetUID() == stored.GetUID() {
		return ours
	}
	delete(w.objects, k)
	return stored
}

// keep remembers an object as the API answered it.
func (w *written[T]) keep(obj T) {
	obj.SetManagedFields(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	k := key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	w.objects[k] = obj
	delete(w.putOff, k)
}

// wait notes that the status of an object is put off, and gives for how long it has been.
func (w *written[T]) wait(k key, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, ok := w.putOff[k]
	if !ok {
		w.putOff[k] = now
		return 0
	}
	return now.Sub(since)
}

// forget drops an object that is gone.
func (w *written[T]) forget(k key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.objects, k)
	delete(w.putOff, k)
}

// process reconciles one object as Knative does: conditions initialised, Ready unknown until a new generation was
// handled, transition times kept where nothing changed, the status written once and only when it differs. An
// error of reconcile does not keep the status from being written, unless it only says that the informers were behind. A status that says
// that nothing is known yet may be put off.
func process[T object](ctx context.Context, c *Controller, k kind[T], stored T, reconcile func(context.Context, T) error) error {
	stored = k.wrote.newer(stored)
	obj := k.copy(stored)
	reconciler.PreProcessReconcile(ctx, obj)
	failed := reconcile(ctx, obj)
	reconciler.PostProcessReconcile(ctx, obj, stored)
	if !equality.Semantic.DeepEqual(k.status(stored), k.status(obj)) {
		if (failed == nil || behind(failed)) && putOff(c, k, stored, obj) {
			return failed
		}
		if err := writeStatus(ctx, k, obj); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil && !behind(failed) && ctx.Err() == nil {
		c.events.Event(obj, corev1.EventTypeWarning, "InternalError", failed.Error())
	}
	return failed
}

// behind tells an error that comes of deciding by an informer that did not have the last write yet. It goes away by itself.
func behind(err error) bool { return apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) }

const (
	// unknownPause is how long a status is put off that still says that nothing is known: what becomes known meanwhile is told in one write.
	unknownPause = 200 * time.Millisecond
	// backlogPause and backlogLatest are, while many come at the same time, how soon an object of which nothing was told yet is looked at
	// again, and how long it waits at most.
	backlogPause, backlogLatest = 5 * time.Second, 30 * time.Second
)

// putOff tells whether the status of obj is better written later, and has it looked at again then. That is so while Ready is not known, and
// was not before either: nobody who waits for the object learns from it how things stand, and it costs as much as the one that says so.
func putOff[T object](c *Controller, k kind[T], stored, obj T) bool {
	if k.again == nil || k.awaited != nil && k.awaited(obj) {
		return false
	}
	ready := func(o T) *apis.Condition { return o.GetConditionSet().Manage(o.GetStatus()).GetTopLevelCondition() }
	observed := stored.GetStatus().ObservedGeneration
	if !ready(obj).IsUnknown() || observed != 0 && (observed != obj.GetGeneration() || !ready(stored).IsUnknown()) {
		return false
	}
	pause, latest := unknownPause, unknownPause
	if observed == 0 && c.backlogged() {
		pause, latest = backlogPause, backlogLatest
	}
	name := key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if k.wrote.wait(name, c.now()) >= latest {
		return false
	}
	k.again.addAfter(name, pause)
	return true
}

// writeStatus writes the status of obj. Where somebody else wrote the object meanwhile, the status goes onto the
// newer one as long as its spec is the same; a new spec is for the next reconciliation.
func writeStatus[T object](ctx context.Context, k kind[T], obj T) error {
	answer, err := k.update(ctx, obj)
	if err == nil {
		k.wrote.keep(answer)
		return nil
	}
	if !apierrs.IsConflict(err) {
		return ignoreGone(err)
	}
	conflict := err
	newer, err := k.get(ctx, key{Namespace: obj.GetNamespace(), Name: obj.GetName()})
	if err != nil {
		return ignoreGone(err)
	}
	if newer.GetUID() != obj.GetUID() || newer.GetGeneration() != obj.GetGeneration() {
		return conflict
	}
	k.move(obj, newer)
	if answer, err = k.update(ctx, newer); err == nil {
		k.wrote.keep(answer)
	}
	return ignoreGone(err)
}

func ignoreGone(err error) error {
	if apierrs.IsNotFound(err) {
		return nil
	}
	return err
}
