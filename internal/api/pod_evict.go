package api

import (
	"context"
	"fmt"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// podEvict serves pods/eviction. There are no disruption budgets here, so that an eviction is a deletion that is asked for in other
// words: the instance is drained, and its revision makes another where it wants one.
type podEvict struct{ pods rest.GracefulDeleter }

var (
	_ rest.NamedCreater             = (*podEvict)(nil)
	_ rest.GroupVersionKindProvider = (*podEvict)(nil)
)

// New is what is posted.
func (*podEvict) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy does nothing: the store belongs to pods.
func (*podEvict) Destroy() {}

// GroupVersionKind tells the kind of what is posted, which is not of the group it is posted to.
func (*podEvict) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create deletes the pod with the options that the eviction brings.
func (e *podEvict) Create(ctx context.Context, name string, object runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	eviction, ok := object.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not an Eviction object: %T", object))
	}
	if eviction.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("name in URL does not match name in Eviction object: %q is not %q", name, eviction.Name))
	}
	deletion := &metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		deletion = eviction.DeleteOptions.DeepCopy()
	}
	if len(deletion.DryRun) > 0 && len(options.DryRun) > 0 && !slices.Equal(deletion.DryRun, options.DryRun) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("dryRun %v of the deleteOptions is not that of the request, %v", deletion.DryRun, options.DryRun))
	}
	if len(deletion.DryRun) == 0 {
		deletion.DryRun = options.DryRun
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopy()); err != nil {
			return nil, err
		}
	}
	if _, _, err := e.pods.Delete(ctx, name, rest.ValidateAllObjectFunc, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}
