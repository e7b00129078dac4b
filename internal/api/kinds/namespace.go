package kinds

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// namespaceREST serves namespaces. Deleting one marks it; it goes when its finalizers are gone, and they go when it is
// empty.
type namespaceREST struct{ *REST }

func newNamespaceREST(r *REST) *namespaceREST {
	r.ShouldDeleteDuringUpdate = namespaceGoes
	return &namespaceREST{r}
}

func namespaceGoes(ctx context.Context, key string, object, existing runtime.Object) bool {
	n, ok := object.(*corev1.Namespace)
	return ok && len(n.Spec.Finalizers) == 0 && registry.ShouldDeleteDuringUpdate(ctx, key, object, existing)
}

// Delete marks the namespace, or removes it when it has been emptied.
func (r *namespaceREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	object, err := r.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	n := object.(*corev1.Namespace)
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if options.Preconditions.UID == nil {
		options.Preconditions.UID = &n.UID
	}
	if n.DeletionTimestamp == nil {
		return r.mark(ctx, name, validate, options)
	}
	if len(n.Spec.Finalizers) > 0 {
		return n, false, nil
	}
	return r.Store.Delete(ctx, name, validate, options)
}

// mark sets the deletion timestamp, after which nothing new may be created in the namespace.
func (r *namespaceREST) mark(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := r.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	out := r.NewFunc()
	preconditions := &storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	err = r.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			n, ok := existing.(*corev1.Namespace)
			if !ok {
				return nil, fmt.Errorf("expected a Namespace, got %T", existing)
			}
			if err := validate(ctx, n); err != nil {
				return nil, err
			}
			if n.DeletionTimestamp == nil {
				now := metav1.Now()
				n.DeletionTimestamp = &now
			}
			n.Status.Phase = corev1.NamespaceTerminating
			return n, nil
		}), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		err = storeerrors.InterpretGetError(err, r.DefaultQualifiedResource, name)
		err = storeerrors.InterpretUpdateError(err, r.DefaultQualifiedResource, name)
		if _, isStatus := err.(*apierrors.StatusError); !isStatus {
			err = apierrors.NewInternalError(err)
		}
		return nil, false, err
	}
	return out, false, nil
}

// DeleteCollection is refused, as upstream does: it would go around Delete.
func (r *namespaceREST) DeleteCollection(context.Context, rest.ValidateObjectFunc, *metav1.DeleteOptions, *metainternalversion.ListOptions) (runtime.Object, error) {
	return nil, apierrors.NewMethodNotSupported(r.DefaultQualifiedResource, "deletecollection")
}

// finalizeREST is the door through which the emptied namespace loses its finalizer.
type finalizeREST struct{ store *registry.Store }

func newFinalizeREST(of *REST) *finalizeREST {
	store := *of.Store
	store.UpdateStrategy = finalizeStrategy{store.UpdateStrategy.(strategy)}
	store.ResetFieldsStrategy = nil
	return &finalizeREST{&store}
}

func (f *finalizeREST) New() runtime.Object { return f.store.New() }

// Destroy does nothing: the store belongs to the main door.
func (f *finalizeREST) Destroy() {}

func (f *finalizeREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return f.store.Update(ctx, name, info, create, update, false, options)
}

// finalizeStrategy changes the finalizers of the spec and nothing else.
type finalizeStrategy struct{ strategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	copyField(object, old, "Status")
}

func (finalizeStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (finalizeStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return nil }
