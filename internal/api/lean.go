package api

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// lean keeps what this process itself writes free of field management: nobody applies to an object over the controller's
// head, and a third of the memory that an object takes was the list of the fields that the controller wrote. Entries
// of others stay, and an apply to such an object starts managing it, as upstream does for objects from before.
type lean struct{}

var _ admission.MutationInterface = lean{}

// Handles reports which operations are looked at.
func (lean) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit puts back the managed fields that the object had before this process wrote it.
func (lean) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !access.ByDaemon(a.GetUserInfo()) {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return nil //nolint:nilerr // what has no metadata has no managed fields
	}
	if a.GetOperation() == admission.Create {
		object.SetManagedFields(nil)
		return nil
	}
	if old, err := meta.Accessor(a.GetOldObject()); err == nil {
		object.SetManagedFields(old.GetManagedFields())
	}
	return nil
}
