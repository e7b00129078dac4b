package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/reconciler"
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
}

// process reconciles one object as Knative does: conditions initialised, Ready unknown until a new generation was
// handled, transition times kept where nothing changed, the status written once and only when it differs. An
// error of reconcile does not keep the status from being written.
func process[T object](ctx context.Context, c *Controller, k kind[T], stored T, reconcile func(context.Context, T) error) error {
	obj := k.copy(stored)
	reconciler.PreProcessReconcile(ctx, obj)
	failed := reconcile(ctx, obj)
	reconciler.PostProcessReconcile(ctx, obj, stored)
	if !equality.Semantic.DeepEqual(k.status(stored), k.status(obj)) {
		if err := writeStatus(ctx, k, obj); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil && !apierrs.IsConflict(failed) && !apierrs.IsAlreadyExists(failed) && ctx.Err() == nil {
		c.events.Event(obj, corev1.EventTypeWarning, "InternalError", failed.Error())
	}
	return failed
}

// writeStatus writes the status of obj. Where somebody else wrote the object meanwhile, the status goes onto the
// newer one as long as its spec is the same; a new spec is for the next reconciliation.
func writeStatus[T object](ctx context.Context, k kind[T], obj T) error {
	_, err := k.update(ctx, obj)
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
	_, err = k.update(ctx, newer)
	return ignoreGone(err)
}

func ignoreGone(err error) error {
	if apierrs.IsNotFound(err) {
		return nil
	}
	return err
}
