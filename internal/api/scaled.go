package api

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// scaled refuses HorizontalPodAutoscalers that are not written by the daemon: it shows those of its own and would obey no other.
type scaled struct{}

var _ admission.ValidationInterface = scaled{}

// Handles reports which operations are looked at.
func (scaled) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate refuses.
func (scaled) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if access.ByDaemon(a.GetUserInfo()) || a.GetResource().GroupResource() != (schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}) {
		return nil
	}
	return admission.NewForbidden(a, errors.New("the number of instances belongs to Fairlead, which shows it here and reads nothing from here; "+
		"annotate the template of the Service instead: autoscaling.knative.dev/class: hpa.autoscaling.knative.dev, with "+
		"autoscaling.knative.dev/metric, /target, /min-scale and /max-scale"))
}
