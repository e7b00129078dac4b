package controller

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// isolationAnnotation, in the status of a Service and a Revision, says what keeps its instances apart: crun, runc, gvisor, or none.
const isolationAnnotation = "fairlead.dev/isolation"

// conditionIsolated says of a Pod whether it has the isolation of a container.
const conditionIsolated corev1.PodConditionType = "fairlead.dev/Isolated"

// tellIsolation writes what keeps instances of a runtime class apart into a status; nil is the daemon's own choice.
func (c *Controller) tellIsolation(status *duckv1.Status, class *string, labels map[string]string) {
	if class == nil {
		class = c.settings().deployment.PodRuntimeClassName(labels)
	}
	name := runtimeName(class)
	if name == "" {
		name = c.conf.Sandboxes.Info().Runtime
	}
	switch name {
	case "process":
		name = "none"
	case "runsc":
		name = "gvisor"
	}
	if status.Annotations[isolationAnnotation] == name {
		return
	}
	annotations := maps.Clone(status.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[isolationAnnotation] = name
	status.Annotations = annotations
}

func isolationCondition(one *podState) []corev1.PodCondition {
	is := one.state.Isolation
	condition := corev1.PodCondition{Type: conditionIsolated, LastTransitionTime: metav1.NewTime(one.created)}
	switch {
	case is.Runtime == "":
		return nil
	case is.Missing != "":
		condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, "ProcessDriver", is.Missing
	default:
		condition.Status, condition.Message = corev1.ConditionTrue, "by "+is.Runtime
	}
	return []corev1.PodCondition{condition}
}
