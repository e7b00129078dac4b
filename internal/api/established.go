package api

import (
	"context"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiserver/pkg/admission"
)

// establishedBackdate is more than the two seconds for which upstream holds up creations after a definition was
// established, to let other servers hear of it.
const establishedBackdate = 3 * time.Second

// established dates the moment at which a definition was established back: there are no other servers here, so the first
// object of a new kind need not wait.
type established struct{}

var _ admission.MutationInterface = established{}

// Handles reports which operations are looked at.
func (established) Handles(op admission.Operation) bool { return op == admission.Update }

// Admit changes the status of definitions that have just been established.
func (established) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	definition, ok := a.GetObject().(*apiextensions.CustomResourceDefinition)
	if !ok || a.GetSubresource() != "status" {
		return nil
	}
	for i := range definition.Status.Conditions {
		c := &definition.Status.Conditions[i]
		if c.Type == apiextensions.Established && c.Status == apiextensions.ConditionTrue && time.Since(c.LastTransitionTime.Time) < establishedBackdate {
			c.LastTransitionTime.Time = time.Now().Add(-establishedBackdate)
		}
	}
	return nil
}
