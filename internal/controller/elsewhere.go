package controller

import (
	"maps"
	"strconv"
	"strings"

	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// listensAnnotation, in the status of a Revision none of whose instances gets ready, is the ports they listen on instead of the one
// that requests go to, separated by commas.
const listensAnnotation = "fairlead.dev/listens-on"

// elsewhereOf gives where a container of an instance listens that is not ready for that.
func elsewhereOf(state sandbox.State) *sandbox.Elsewhere {
	for _, c := range state.Containers {
		if c.Elsewhere != nil {
			return c.Elsewhere
		}
	}
	return nil
}

// noteElsewhere keeps where the instances listen until one gets ready: after the deadline none is left to ask.
func (s *scaler) noteElsewhere() {
	if s.count((*instance).ready) > 0 {
		s.elsewhere = nil
		return
	}
	for _, i := range s.instances {
		if i.phase != phaseLive {
			continue
		}
		s.elsewhere = elsewhereOf(i.state)
		if s.elsewhere != nil {
			return
		}
	}
}

// tellElsewhere reports an instance that listens elsewhere, once for each place.
func (s *scaler) tellElsewhere(i *instance, before, after sandbox.State) {
	now, then := elsewhereOf(after), elsewhereOf(before)
	if now == nil || then != nil && then.String() == now.String() {
		return
	}
	s.tell(report{pod: i.name, warning: true, runs: true, reason: sandbox.ReasonUnhealthy, message: now.String()})
}

// markElsewhere completes the status of a revision, none of whose instances is ready, by where they listen. Reasons stay Knative's.
func markElsewhere(status *v1.RevisionStatus, e *sandbox.Elsewhere) {
	annotateListens(status, e)
	if e == nil {
		return
	}
	if status.GetCondition(v1.RevisionConditionContainerHealthy).IsUnknown() {
		status.MarkContainerHealthyUnknown(v1.ReasonDeploying, e.String())
	}
	if c := status.GetCondition(v1.RevisionConditionResourcesAvailable); c.IsFalse() && c.Reason == v1.ReasonProgressDeadlineExceeded {
		status.MarkResourcesAvailableFalse(c.Reason, strings.TrimSuffix(c.Message, ".")+": "+e.String())
	}
}

func annotateListens(status *v1.RevisionStatus, e *sandbox.Elsewhere) {
	value := ""
	if e != nil {
		var ports []string
		for _, p := range e.Ports() {
			ports = append(ports, strconv.Itoa(int(p)))
		}
		value = strings.Join(ports, ",")
	}
	if status.Annotations[listensAnnotation] == value {
		return
	}
	status.Annotations = maps.Clone(status.Annotations)
	if value == "" {
		delete(status.Annotations, listensAnnotation)
		return
	}
	if status.Annotations == nil {
		status.Annotations = map[string]string{}
	}
	status.Annotations[listensAnnotation] = value
}
