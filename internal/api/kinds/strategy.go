package kinds

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// strategy is how every kind is created and updated: status and spec each change through their own door, generation
// counts changes of spec, names are checked, and the row's own functions do the rest.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	row *row
}

var (
	_ rest.RESTCreateStrategy = strategy{}
	_ rest.RESTUpdateStrategy = strategy{}
	_ rest.RESTDeleteStrategy = strategy{}
)

func (s strategy) NamespaceScoped() bool { return s.row.namespaced }

func (s strategy) PrepareForCreate(ctx context.Context, object runtime.Object) {
	if s.row.gvk.Kind == "Pod" {
		takeUID(ctx, accessor(object))
	}
	if s.row.status {
		clearField(object, "Status")
	}
	if s.row.generation {
		accessor(object).SetGeneration(1)
	}
	if s.row.prepare != nil {
		s.row.prepare(object, nil)
	}
}

// uidAnnotation asks, from the process itself only, for a UID that an object was known by before it was stored.
const uidAnnotation = "fairlead.dev/pod-uid"

// takeUID gives an object the UID that its annotation asks for. The annotation does not stay, and nobody else's counts.
func takeUID(ctx context.Context, m metav1.Object) {
	annotations := m.GetAnnotations()
	uid, asked := annotations[uidAnnotation]
	if !asked {
		return
	}
	delete(annotations, uidAnnotation)
	if who, ok := request.UserFrom(ctx); ok && access.ByDaemon(who) && uid != "" {
		m.SetUID(types.UID(uid))
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	if s.row.status {
		copyField(object, old, "Status")
	}
	if s.row.prepare != nil {
		s.row.prepare(object, old)
	}
	if s.row.generation {
		m, before := accessor(object), accessor(old)
		m.SetGeneration(before.GetGeneration())
		if !equality.Semantic.DeepEqual(fieldOf(object, "Spec"), fieldOf(old, "Spec")) {
			m.SetGeneration(before.GetGeneration() + 1)
		}
	}
}

func (s strategy) Validate(ctx context.Context, object runtime.Object) field.ErrorList {
	errs := validation.ValidateObjectMetaAccessor(accessor(object), s.row.namespaced, s.validName(), field.NewPath("metadata"))
	if s.row.validate != nil {
		errs = append(errs, s.row.validate(ctx, object, nil)...)
	}
	return errs
}

func (s strategy) ValidateUpdate(ctx context.Context, object, old runtime.Object) field.ErrorList {
	if s.row.validate == nil {
		return nil
	}
	return s.row.validate(ctx, object, old)
}

func (s strategy) validName() validation.ValidateNameFunc {
	if s.row.validName != nil {
		return s.row.validName
	}
	return validation.NameIsDNSSubdomain
}

func dnsLabel(name string, prefix bool) []string { return validation.NameIsDNSLabel(name, prefix) }
func pathSegment(name string, prefix bool) []string {
	return path.ValidatePathSegmentName(name, prefix)
}

func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (strategy) Canonicalize(runtime.Object)    {}
func (strategy) AllowUnconditionalUpdate() bool { return true }

// AllowCreateOnUpdate is true for kinds whose clients are known to create with PUT.
func (s strategy) AllowCreateOnUpdate() bool {
	switch s.row.gvk.Kind {
	case "Lease", "Event", "Endpoints", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
		return true
	}
	return false
}

// GetResetFields keeps what this door does not change out of the managed fields.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.row.status {
		return nil
	}
	return resetFields(s.row, "status")
}

// statusStrategy changes status and nothing else.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	m, before := accessor(object), accessor(old)
	m.SetDeletionTimestamp(nil)
	m.SetOwnerReferences(before.GetOwnerReferences())
	m.SetGeneration(before.GetGeneration())
	copyField(object, old, "Spec")
}

func (s statusStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resetFields(s.row, "spec")
}

func resetFields(r *row, name string) map[fieldpath.APIVersion]*fieldpath.Set {
	version := fieldpath.APIVersion(r.gvk.GroupVersion().String())
	return map[fieldpath.APIVersion]*fieldpath.Set{version: fieldpath.NewSet(fieldpath.MakePathOrDie(name))}
}

// accessor gives the metadata of an object of the table; all have it.
func accessor(object runtime.Object) metav1.Object {
	m, err := meta.Accessor(object)
	if err != nil {
		panic(err) // a row of the table whose type has no metadata
	}
	return m
}

func fieldOf(object runtime.Object, name string) any {
	v := reflect.ValueOf(object).Elem().FieldByName(name)
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

func clearField(object runtime.Object, name string) {
	if v := reflect.ValueOf(object).Elem().FieldByName(name); v.IsValid() {
		v.SetZero()
	}
}

func copyField(to, from runtime.Object, name string) {
	if v := reflect.ValueOf(to).Elem().FieldByName(name); v.IsValid() {
		v.Set(reflect.ValueOf(from).Elem().FieldByName(name))
	}
}
