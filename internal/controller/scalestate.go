package controller

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	anames "knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// scaleState is what a scaler tells about its revision. It is never changed after it was published.
type scaleState struct {
	want, ready int32
	initialized bool
	exceeded    bool
	// floor is how many ready instances make the revision active.
	floor int32
	// failure says how a container ended while nothing is ready; nil where none did.
	failure *failure
	// elsewhere is where the instances listen instead of getting ready; nil where that is not known or some are ready.
	elsewhere *sandbox.Elsewhere
	// waiting says why no instance can be made; refused, that trying again will not help.
	waiting string
	refused bool
	// missing says what of the machine's capacity is missing.
	missing string
	// denied says which quota forbids another instance.
	denied string
	// short says that a burst of requests would have to wait: the gateway stays in the path.
	short bool
	// usage is what the instances of a revision of the class hpa use on average, in percent of the processor they ask for or in MiB, once it
	// was measured.
	usage    int32
	measured bool
	// spares counts the instances that wait to be started.
	spares int
	pods   []podState
	// pending is the next instance, for which the machine has no capacity; nil for none. It has an identity, and nothing runs.
	pending *podState
}

type failure struct {
	code    int32
	message string
}

// podState is one instance as the API shows it. Spares are not shown: none of their program has run.
type podState struct {
	identity
	created, started time.Time
	state            sandbox.State
	leaving          bool
	frozen           bool
	unschedulable    string
}

// shown gives the instances that the API shows, the one that waits for capacity last.
func (s *scaleState) shown() iter.Seq[*podState] {
	return func(yield func(*podState) bool) {
		for i := range s.pods {
			if !yield(&s.pods[i]) {
				return
			}
		}
		if s.pending != nil {
			yield(s.pending)
		}
	}
}

// publish makes the present state known, when it differs from what is known.
func (s *scaler) publish() {
	state := &scaleState{
		want:        s.want,
		ready:       int32(s.count((*instance).ready)), //nolint:gosec // far below
		initialized: s.initialized,
		exceeded:    s.exceeded,
		floor:       max(s.plan.spec.Min, 1),
		missing:     s.missing,
		denied:      s.denied,
		short:       s.short,
	}
	if !s.initialized {
		state.floor = s.proof()
	}
	if s.makeErr != nil {
		state.waiting = s.makeErr.Error()
		state.refused = errors.Is(s.makeErr, sandbox.ErrRuntimeMissing) || errors.Is(s.makeErr, sandbox.ErrSpec) || errors.Is(s.makeErr, sandbox.ErrUserNamespace)
	}
	for _, i := range s.instances {
		if i.phase == phaseSpare {
			state.spares++
		}
		if i.phase == phaseMaking && i.waited && i.wanted {
			state.pods = append(state.pods, podState{identity: i.identity, created: i.created})
			continue
		}
		if i.phase == phaseSpare || i.box == nil {
			continue
		}
		if i.phase == phaseLeaving && i.started.IsZero() {
			continue
		}
		state.pods = append(state.pods, podState{
			identity: i.identity, created: i.created, started: i.started, state: i.state,
			leaving: i.phase == phaseLeaving, frozen: i.phase == phaseFrozen,
		})
	}
	if s.usage.known {
		state.usage, state.measured = int32(math.Round(s.usage.average)), true
	}
	if w := s.waits; w != nil && s.missing != "" {
		state.pending = &podState{identity: w.identity, created: w.since, unschedulable: s.missing}
	}
	slices.SortFunc(state.pods, func(a, b podState) int { return cmp.Compare(a.name, b.name) })
	if state.ready == 0 && state.want > 0 {
		state.failure = s.failure()
	}
	s.noteElsewhere()
	state.elsewhere = s.elsewhere
	old := s.seen.Load()
	if old != nil && reflect.DeepEqual(old, state) {
		return
	}
	s.seen.Store(state)
	s.changed(s.key, tellAfter(old, state))
}

const (
	// tellProving is how long a revision's first instance may take to get ready before it is told that it has not.
	tellProving = 50 * time.Millisecond
	// tellScaling is how long a change of scale waits before it is told.
	tellScaling = 200 * time.Millisecond
)

// tellAfter says how long a change may wait before the API is told, 0 for what somebody waits for. Telling is a dozen writes, which take
// more processor time than an instance needs to start: told at once, they would keep the instance from getting ready, and others that
// wake at the same time. What has changed again meanwhile is told once.
func tellAfter(old, state *scaleState) time.Duration {
	switch {
	case old == nil || state.failure != nil || state.elsewhere != nil || state.exceeded || state.waiting != "" || state.missing != "" || state.denied != "":
		return 0
	case !state.initialized:
		return tellProving
	case !old.initialized:
		return 0
	}
	return tellScaling
}

// failure finds how the revision's containers fail. A revision that was ready before has one restart for free.
func (s *scaler) failure() *failure {
	for _, i := range s.instances {
		if i.phase != phaseLive {
			continue
		}
		for _, c := range slices.Concat(i.state.Init, i.state.Containers) {
			exit := lastExit(c)
			if exit == nil || s.initialized && c.Restarts <= 1 || c.Phase == sandbox.ContainerExited && exit.Code == 0 {
				continue
			}
			message := exit.Message
			if message == "" {
				var next time.Time // when the run after it began
				if c.Exit == nil {
					next = c.StartedAt
				}
				message = i.box.Tail(c.Name, exit.Started, next)
			}
			return &failure{code: int32(exit.Code), message: strings.TrimRight(message, "\n")} //nolint:gosec // an exit code
		}
	}
	return nil
}

// deploymentStatus is the status a Deployment of these instances would have.
func (s *scaleState) deploymentStatus(p *plan, since metav1.Time) appsv1.DeploymentStatus {
	shown := int32(len(slices.Collect(s.shown()))) //nolint:gosec // far below
	progressing := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable",
		Message: fmt.Sprintf("ReplicaSet %q has successfully progressed.", p.deployment.Name),
	}
	available := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable",
		Message: "Deployment has minimum availability.",
	}
	switch {
	case s.exceeded:
		progressing.Status, progressing.Reason = corev1.ConditionFalse, v1.ReasonProgressDeadlineExceeded
		progressing.Message = fmt.Sprintf("ReplicaSet %q has timed out progressing.", p.deployment.Name)
	case s.ready < s.want && s.ready == 0:
		progressing.Reason = "ReplicaSetUpdated"
		progressing.Message = fmt.Sprintf("ReplicaSet %q is progressing.", p.deployment.Name)
	}
	if s.ready < s.want {
		available.Status, available.Reason = corev1.ConditionFalse, "MinimumReplicasUnavailable"
		available.Message = "Deployment does not have minimum availability."
	}
	conditions := []appsv1.DeploymentCondition{available, progressing}
	if s.denied != "" {
		conditions = append(conditions, appsv1.DeploymentCondition{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: failedCreate, Message: s.denied,
		})
	}
	for i := range conditions {
		conditions[i].LastUpdateTime, conditions[i].LastTransitionTime = since, since
	}
	return appsv1.DeploymentStatus{
		ObservedGeneration:  1,
		Replicas:            shown,
		UpdatedReplicas:     shown,
		ReadyReplicas:       s.ready,
		AvailableReplicas:   s.ready,
		UnavailableReplicas: max(s.want-s.ready, 0),
		Conditions:          conditions,
	}
}

// autoscalerStatus is the status a PodAutoscaler of the revision has.
func (s *scaleState) autoscalerStatus(revision string) autoscalingv1alpha1.PodAutoscalerStatus {
	var status autoscalingv1alpha1.PodAutoscalerStatus
	status.InitializeConditions()
	status.ServiceName = revision
	status.MetricsServiceName = anames.PrivateService(revision)
	status.ActualScale, status.DesiredScale = ptr.Int32(s.ready), ptr.Int32(s.want)
	status.MarkSKSReady()
	if s.initialized {
		status.MarkScaleTargetInitialized()
	}
	switch {
	case s.want == 0 && s.exceeded && !s.initialized:
		status.MarkInactive("TimedOut", "The target could not be activated.")
	case s.want == 0:
		status.MarkInactive("NoTraffic", "The target is not receiving traffic.")
	case s.ready < s.floor:
		status.MarkActivating("Queued", "Requests to the target are being buffered as resources are provisioned.")
	default:
		status.MarkActive()
	}
	return status
}
