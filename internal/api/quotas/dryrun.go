package quotas

import (
	"context"

	"k8s.io/apiserver/pkg/admission"

	"github.com/fairlead-dev/fairlead/internal/quota"
)

// DryRun refuses, as the last of admission, what the storage would refuse if it were not a dry run.
type DryRun struct{ Ledger *quota.Ledger }

var _ admission.ValidationInterface = (*DryRun)(nil)

// Handles reports whether an operation is looked at.
func (*DryRun) Handles(op admission.Operation) bool { return op == admission.Create }

// Validate asks the ledger and charges nothing.
func (d *DryRun) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	r := a.GetResource().GroupResource()
	if !a.IsDryRun() || a.GetSubresource() != "" || !d.Ledger.Tracks(a.GetNamespace(), r) {
		return nil
	}
	return forbidden(d.Ledger.Check(quota.Object{Namespace: a.GetNamespace(), Resource: r, Name: a.GetName()}, measure(r, a.GetObject()), nil))
}
