package quotas

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/fairlead-dev/fairlead/internal/quota"
)

// measured tells whether objects of a resource take more than their number.
func measured(r schema.GroupResource) bool {
	switch r {
	case schema.GroupResource{Resource: "pods"}, schema.GroupResource{Resource: "services"}, schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return true
	}
	return false
}

// measure gives the claim of an object; nil is that of a Pod that shows an instance, which its scaler charges.
func measure(r schema.GroupResource, object runtime.Object) *quota.Claim {
	switch o := object.(type) {
	case *corev1.Pod:
		if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "Deployment" && o.Labels[serving.RevisionLabelKey] != "" {
			return nil
		}
		return quota.OfPod(o, "")
	case *corev1.Service:
		return quota.OfService(o)
	case *corev1.PersistentVolumeClaim:
		return quota.OfVolumeClaim(o)
	}
	return quota.OfCount(r)
}

// Wrap has the ledger asked and told about what is written to a storage.
func (k *Keeper) Wrap(inner storage.Interface, r schema.GroupResource) storage.Interface {
	if r.Resource == "events" {
		return inner
	}
	return &counted{inner, k, r}
}

type counted struct {
	storage.Interface
	keeper   *Keeper
	resource schema.GroupResource
}

// object says who is charged. It is false for what is in no namespace.
func (c *counted) object(o runtime.Object) (quota.Object, bool) {
	m, err := meta.Accessor(o)
	if err != nil || m.GetNamespace() == "" || m.GetUID() == "" {
		return quota.Object{}, false
	}
	return quota.Object{Namespace: m.GetNamespace(), Resource: c.resource, Name: m.GetName(), UID: m.GetUID()}, true
}

// take charges an object, or refuses with the status that the API gives.
func (c *counted) take(who quota.Object, o runtime.Object) error {
	ledger := c.keeper.cfg.Ledger
	if !ledger.Tracks(who.Namespace, c.resource) {
		return nil
	}
	return forbidden(ledger.Take(who, measure(c.resource, o), nil))
}

// forbidden makes a refusal the answer of the API.
func forbidden(err error) error {
	if refusal := (*quota.Refusal)(nil); errors.As(err, &refusal) {
		return apierrors.NewForbidden(refusal.Object.Resource, refusal.Object.Name, errors.New(refusal.Reason))
	}
	return err
}

// settle charges what is stored now, which may have been written before a quota asked for it.
func (c *counted) settle(ctx context.Context, o runtime.Object) {
	who, ok := c.object(o)
	if !ok {
		return
	}
	if q, is := o.(*corev1.ResourceQuota); is {
		c.keeper.follow(ctx, q)
	}
	if ledger := c.keeper.cfg.Ledger; ledger.Tracks(who.Namespace, c.resource) {
		ledger.Put(who, measure(c.resource, o))
	}
}

func (c *counted) Create(ctx context.Context, key string, o, out runtime.Object, ttl uint64) error {
	who, ok := c.object(o)
	if ok {
		if err := c.take(who, o); err != nil {
			return err
		}
	}
	err := c.Interface.Create(ctx, key, o, out, ttl)
	switch {
	case err == nil:
		c.settle(ctx, out)
	case ok:
		c.keeper.cfg.Ledger.Drop(who)
	}
	return err
}

func (c *counted) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions,
	update storage.UpdateFunc, cached runtime.Object) error {
	var before runtime.Object // as it was when it was last tried
	var made quota.Object     // what an update has charged that creates
	err := c.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions,
		func(existing runtime.Object, about storage.ResponseMeta) (runtime.Object, *uint64, error) {
			was := existing.DeepCopyObject()
			o, ttl, err := update(existing, about)
			if err != nil {
				return o, ttl, err
			}
			who, ok := c.object(o)
			if !ok {
				return o, ttl, nil
			}
			if _, there := c.object(was); there {
				before = was
				c.restore(was) // it is no news to the ledger, unless it is being loaded
			} else if made != who {
				c.keeper.cfg.Ledger.Drop(made) // of an attempt that had to be made again
				made = who
			}
			return o, ttl, c.take(who, o)
		}, cached)
	switch {
	case err == nil:
		c.settle(ctx, destination)
	case before != nil:
		c.restore(before)
	case made.UID != "":
		c.keeper.cfg.Ledger.Drop(made)
	}
	return err
}

// restore charges an object as it was before an update that failed.
func (c *counted) restore(before runtime.Object) {
	if who, ok := c.object(before); ok && c.keeper.cfg.Ledger.Tracks(who.Namespace, c.resource) {
		c.keeper.cfg.Ledger.Put(who, measure(c.resource, before))
	}
}

func (c *counted) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, options storage.DeleteOptions) error {
	err := c.Interface.Delete(ctx, key, out, preconditions, validate, cached, options)
	if who, ok := c.object(out); err == nil && ok {
		c.keeper.cfg.Ledger.Drop(who)
		if q, is := out.(*corev1.ResourceQuota); is {
			c.keeper.cfg.Ledger.DropQuota(q)
		}
	}
	return err
}
