package kinds

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Storage is every resource of the table, by group and version and then by path ("pods", "pods/status").
type Storage map[schema.GroupVersion]map[string]rest.Storage

// Options say how kinds are stored.
type Options struct {
	// Getter gives storage to each resource.
	Getter generic.RESTOptionsGetter
	// EventTTL is how long events live after their last change, in whole seconds.
	EventTTL time.Duration
}

// NewStorage opens the stores of all kinds.
func NewStorage(s *Scheme, options Options) (Storage, error) {
	all := Storage{}
	for _, r := range table() {
		store, err := newStore(s, r, options)
		if err != nil {
			return nil, err
		}
		gv := r.gvk.GroupVersion()
		if all[gv] == nil {
			all[gv] = map[string]rest.Storage{}
		}
		all[gv][r.plural] = store
		if r.gvk.Kind == "Deployment" {
			all[gv][r.plural+"/scale"] = &scaleREST{store.Store}
		}
		if r.gvk.Kind == "Namespace" {
			all[gv][r.plural] = newNamespaceREST(store)
			all[gv][r.plural+"/finalize"] = newFinalizeREST(store)
		}
		if r.status {
			all[gv][r.plural+"/status"] = newStatusStore(store)
		}
	}
	return all, nil
}

// REST serves one kind.
type REST struct {
	*registry.Store
	row *row
}

// ShortNames are what people type.
func (r *REST) ShortNames() []string { return r.row.short }

// Categories are the groups of kinds that contain this one.
func (r *REST) Categories() []string { return r.row.categories }

func newStore(s *Scheme, r *row, options Options) (*REST, error) {
	strategy := strategy{ObjectTyper: s.Scheme, NameGenerator: names.SimpleNameGenerator, row: r}
	store := &registry.Store{
		NewFunc:                   r.newObject,
		NewListFunc:               r.newList,
		PredicateFunc:             r.predicate,
		DefaultQualifiedResource:  r.resource(),
		SingularQualifiedResource: schema.GroupResource{Group: r.gvk.Group, Resource: r.singular},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		ResetFieldsStrategy:       strategy,
		TableConvertor:            newTables(r),
	}
	if r.expires {
		ttl := uint64(options.EventTTL / time.Second) //nolint:gosec // checked not to be negative
		store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return ttl, nil }
	}
	err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options.Getter, AttrFunc: r.attributes})
	if err != nil {
		return nil, fmt.Errorf("kinds: open store of %s: %w", r.plural, err)
	}
	return &REST{Store: store, row: r}, nil
}

// statusREST is the door to the status of a kind.
type statusREST struct {
	store *registry.Store
}

func newStatusStore(of *REST) *statusREST {
	store := *of.Store
	status := statusStrategy{store.UpdateStrategy.(strategy)}
	store.UpdateStrategy = status
	store.ResetFieldsStrategy = status
	return &statusREST{store: &store}
}

var (
	_ rest.Patcher             = (*statusREST)(nil)
	_ rest.ResetFieldsStrategy = statusStrategy{}
)

func (s *statusREST) New() runtime.Object { return s.store.New() }

// Destroy does nothing: the store belongs to the main door.
func (s *statusREST) Destroy() {}

func (s *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

func (s *statusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, info, create, update, false, options)
}

func (s *statusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

func (s *statusREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, object, options)
}
