package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

// errChanged says that an object is not as the index has it; the index will hear of it and the task comes again.
var errChanged = errors.New("lifecycle: the object has changed meanwhile")

// checkDependent deletes an object that nobody owns any more, or takes the owners out of it that are gone.
func (k *Keeper) checkDependent(ctx context.Context, uid types.UID) error {
	n := k.index.get(uid)
	if n == nil || len(n.owners) == 0 || n.deleting && !n.foreground {
		return nil
	}
	s := k.index.standingOf(n)
	if s.absent+s.waiting == 0 {
		return nil
	}
	live, err := k.live(ctx, n)
	if live == nil || err != nil {
		return err
	}
	if !slices.Equal(factsOf(&live.ObjectMeta).owners, n.owners) {
		return errChanged
	}
	if s.solid > 0 {
		return k.disown(ctx, n, live)
	}
	if n.deleting {
		return nil
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case s.waiting > 0 && len(k.index.dependentsOf(uid)) > 0, n.foreground:
		policy = metav1.DeletePropagationForeground
	case n.orphan:
		policy = metav1.DeletePropagationOrphan
	}
	return k.delete(ctx, n, policy, &live.ResourceVersion)
}

// disown takes the owners out of an object that do not hold it.
func (k *Keeper) disown(ctx context.Context, n *node, live *metav1.PartialObjectMetadata) error {
	keep := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(o metav1.OwnerReference) bool { return !k.index.keeps(o.UID, n) })
	if len(keep) == len(live.OwnerReferences) {
		return nil
	}
	return k.patch(ctx, n, live, map[string]any{"ownerReferences": keep})
}

// checkOwner lets an object go that was deleted in the foreground once its blocking dependents have gone, or one that was
// deleted without its dependents once they do not name it any more.
func (k *Keeper) checkOwner(ctx context.Context, uid types.UID) error {
	n := k.index.get(uid)
	if n == nil || !n.deleting {
		return nil
	}
	if n.orphan {
		return k.orphan(ctx, n)
	}
	if !n.foreground {
		return nil
	}
	blocked := false
	for _, d := range k.index.dependentsOf(uid) {
		if !k.index.owns(n, d) {
			continue
		}
		blocked = blocked || slices.Contains(d.owners, ownerRef{uid: uid, blocks: true})
		k.queue.Add(task{what: workDependent, uid: d.uid})
	}
	if blocked {
		return nil
	}
	return k.unfinalize(ctx, n, metav1.FinalizerDeleteDependents)
}

// orphan makes the dependents forget their owner, and then lets it go.
func (k *Keeper) orphan(ctx context.Context, n *node) error {
	var errs []error
	for _, d := range k.index.dependentsOf(n.uid) {
		live, err := k.live(ctx, d)
		if live == nil {
			errs = append(errs, err)
			continue
		}
		keep := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(o metav1.OwnerReference) bool { return o.UID == n.uid })
		if len(keep) != len(live.OwnerReferences) {
			errs = append(errs, k.patch(ctx, d, live, map[string]any{"ownerReferences": keep}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.unfinalize(ctx, n, metav1.FinalizerOrphanDependents)
}

func (k *Keeper) unfinalize(ctx context.Context, n *node, finalizer string) error {
	live, err := k.live(ctx, n)
	if live == nil || err != nil {
		return err
	}
	keep := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == finalizer })
	if len(keep) == len(live.Finalizers) {
		return nil
	}
	return k.patch(ctx, n, live, map[string]any{"finalizers": keep})
}

// live reads an object as it is now; nil without an error if it has gone or is another one by now.
func (k *Keeper) live(ctx context.Context, n *node) (*metav1.PartialObjectMetadata, error) {
	client, err := k.resource(n)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lifecycle: read %s: %w", n.place, err)
	}
	if live.UID != n.uid {
		return nil, nil
	}
	return live, nil
}

// resource is the client for an object's kind.
func (k *Keeper) resource(n *node) (metadata.ResourceInterface, error) {
	resource := schema.GroupResource{Group: n.group, Resource: n.resource}
	version, served := k.cfg.Catalog.Version(resource)
	if !served {
		return nil, fmt.Errorf("lifecycle: %s is not served", resource)
	}
	client := k.metadata.Resource(resource.WithVersion(version))
	if n.namespace == "" {
		return client, nil
	}
	return client.Namespace(n.namespace), nil
}

// delete deletes an object if it still is the one meant, and has the version given where one is.
func (k *Keeper) delete(ctx context.Context, n *node, policy metav1.DeletionPropagation, version *string) error {
	client, err := k.resource(n)
	if err != nil {
		return err
	}
	err = client.Delete(ctx, n.name, metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &n.uid, ResourceVersion: version}})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return errChanged
	case err != nil:
		return fmt.Errorf("lifecycle: delete %s: %w", n.place, err)
	}
	k.deleted.Inc()
	k.log.Debug("lifecycle deleted", "resource", n.resource, "namespace", n.namespace, "name", n.name)
	return nil
}

// patch changes metadata of an object if it has not changed since it was read.
func (k *Keeper) patch(ctx context.Context, n *node, live *metav1.PartialObjectMetadata, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = live.UID, live.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("lifecycle: encode patch: %w", err)
	}
	client, err := k.resource(n)
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, n.name, types.MergePatchType, body, metav1.PatchOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return errChanged
	case err != nil:
		return fmt.Errorf("lifecycle: patch %s: %w", n.place, err)
	}
	return nil
}

func (p place) String() string {
	name := p.name
	if p.namespace != "" {
		name = p.namespace + "/" + p.name
	}
	return schema.GroupResource{Group: p.group, Resource: p.resource}.String() + " " + name
}
