package controller

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// key names one object. A cluster-wide object has no namespace.
type key = types.NamespacedName

const (
	retryFirst = 5 * time.Millisecond
	retryLast  = 30 * time.Second
)

// queue runs one reconciler: names in, one reconciliation of a name at a time, retried with backoff while it
// fails. Adding a name that waits already changes nothing.
type queue struct {
	name      string
	log       *slog.Logger
	work      workqueue.TypedRateLimitingInterface[key]
	reconcile func(context.Context, key) error
}

func newQueue(name string, log *slog.Logger, reconcile func(context.Context, key) error) *queue {
	limit := workqueue.NewTypedItemExponentialFailureRateLimiter[key](retryFirst, retryLast)
	return &queue{
		name:      name,
		log:       log,
		work:      workqueue.NewTypedRateLimitingQueue(limit),
		reconcile: reconcile,
	}
}

func (q *queue) add(k key)                       { q.work.Add(k) }
func (q *queue) addAfter(k key, d time.Duration) { q.work.AddAfter(k, d) }
func (q *queue) addName(namespace, name string)  { q.work.Add(key{Namespace: namespace, Name: name}) }
func (q *queue) stop()                           { q.work.ShutDown() }
func (q *queue) addOwner(k key, name string) {
	if name != "" {
		q.addName(k.Namespace, name)
	}
}

// run works until the queue is stopped. ctx bounds the reconciliations, not the loop.
func (q *queue) run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for q.next(ctx) {
			}
		})
	}
	wg.Wait()
}

func (q *queue) next(ctx context.Context) bool {
	k, stopped := q.work.Get()
	if stopped {
		return false
	}
	defer q.work.Done(k)
	err := q.reconcile(ctx, k)
	if err == nil {
		q.work.Forget(k)
		return true
	}
	if ctx.Err() != nil {
		return true
	}
	level := slog.LevelDebug
	if !behind(err) && !errors.As(err, new(reportedError)) {
		level = slog.LevelWarn
	}
	q.log.Log(ctx, level, "reconciling", "kind", q.name, "namespace", k.Namespace, "name", k.Name, "err", err)
	q.work.AddRateLimited(k)
	return true
}

// reportedError marks an error that the object's status tells in full: it is retried but not logged as news.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// onChange calls f with the name of every object that appears, changes or goes.
func onChange(informer cache.SharedIndexInformer, f func(key, any)) error {
	return onDifference(informer, func(_, _ metav1.Object) bool { return true }, func(k key, m metav1.Object) { f(k, m) })
}

// onDifference calls f with every object that appears or goes, and with one that changes where differs tells that the change concerns it.
func onDifference[T metav1.Object](informer cache.SharedIndexInformer, differs func(before, after T) bool, f func(key, T)) error {
	call := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if m, ok := obj.(T); ok {
			f(key{Namespace: m.GetNamespace(), Name: m.GetName()}, m)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: call,
		UpdateFunc: func(before, after any) {
			old, is := before.(T)
			if m, ok := after.(T); !is || !ok || differs(old, m) {
				call(after)
			}
		},
		DeleteFunc: call,
	})
	return err
}
