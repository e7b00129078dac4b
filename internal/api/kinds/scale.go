package kinds

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// scaleREST serves deployments/scale: the number of replicas in the form that all scalable kinds have.
type scaleREST struct{ store *registry.Store }

var (
	_ rest.Patcher                  = (*scaleREST)(nil)
	_ rest.GroupVersionKindProvider = (*scaleREST)(nil)
)

// GroupVersionKind says that a scale is not of the group of its path.
func (*scaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New is what clients send.
func (*scaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the store belongs to the main door.
func (*scaleREST) Destroy() {}

// Get gives the scale of a deployment.
func (s *scaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	object, err := s.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(object)
}

func scaleOf(object runtime.Object) (*autoscalingv1.Scale, error) {
	d, ok := object.(*appsv1.Deployment)
	if !ok {
		return nil, fmt.Errorf("kinds: scale of a %T", object)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("kinds: selector of deployment %s: %w", d.Name, err)
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: d.Name, Namespace: d.Namespace, UID: d.UID, ResourceVersion: d.ResourceVersion, CreationTimestamp: d.CreationTimestamp},
		Status:     autoscalingv1.ScaleStatus{Replicas: d.Status.Replicas, Selector: selector.String()},
	}
	if d.Spec.Replicas != nil {
		scale.Spec.Replicas = *d.Spec.Replicas
	}
	return scale, nil
}

// Update changes the number of replicas of a deployment.
func (s *scaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	object, _, err := s.store.Update(ctx, name, scaled{info}, nil,
		func(ctx context.Context, object, old runtime.Object) error {
			now, err := scaleOf(object)
			if err != nil {
				return err
			}
			before, err := scaleOf(old)
			if err != nil || update == nil {
				return err
			}
			return update(ctx, now, before)
		}, false, options)
	if err != nil {
		return nil, false, err
	}
	scale, err := scaleOf(object)
	return scale, false, err
}

// ConvertToTable shows a scale as any object without columns.
func (s *scaleREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(s.store.DefaultQualifiedResource).ConvertToTable(ctx, object, options)
}

// scaled applies a change of a scale to the deployment behind it.
type scaled struct{ change rest.UpdatedObjectInfo }

func (s scaled) Preconditions() *metav1.Preconditions { return s.change.Preconditions() }

func (s scaled) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	d, ok := old.DeepCopyObject().(*appsv1.Deployment)
	if !ok {
		return nil, fmt.Errorf("kinds: scale of a %T", old)
	}
	if d.Name == "" { // the store asks like this for an object that does not exist
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: appsv1.GroupName, Resource: "deployments"}, d.Name)
	}
	before, err := scaleOf(d)
	if err != nil {
		return nil, err
	}
	changed, err := s.change.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	scale, ok := changed.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", changed))
	}
	if scale.Spec.Replicas < 0 {
		errs := field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0")}
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: autoscalingv1.GroupName, Kind: "Scale"}, d.Name, errs)
	}
	if scale.ResourceVersion != "" {
		d.ResourceVersion = scale.ResourceVersion
	}
	d.Spec.Replicas = &scale.Spec.Replicas
	return d, nil
}
