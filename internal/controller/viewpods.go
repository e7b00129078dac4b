package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// viewPods keeps a Pod for every instance of a revision, and none besides.
func (c *Controller) viewPods(ctx context.Context, p *plan, state *scaleState, deployment *appsv1.Deployment) error {
	k := key{Namespace: p.revision.Namespace, Name: p.revision.Name}
	shown := make(map[string]bool, len(state.pods))
	for one := range state.shown() {
		pod, err := c.listers.pods.Pods(k.Namespace).Get(one.name)
		if apierrs.IsNotFound(err) {
			if one.leaving {
				continue // deleted by somebody, and on its way
			}
			pod, err = c.kube.CoreV1().Pods(k.Namespace).Create(ctx, makePod(p, one, deployment), metav1.CreateOptions{})
			if apierrs.IsAlreadyExists(err) {
				return err // the informer is behind: again
			}
		}
		if err != nil {
			return fmt.Errorf("pod %q: %w", one.name, err)
		}
		shown[one.name] = true
		if pod, err = c.place(ctx, pod, one); err != nil {
			return err
		}
		if err := c.viewPodStatus(ctx, pod, one); err != nil {
			return err
		}
	}
	return c.dropPods(ctx, k, shown)
}

// place says that a pod which has waited for capacity is on the machine now.
func (c *Controller) place(ctx context.Context, pod *corev1.Pod, one *podState) (*corev1.Pod, error) {
	if one.unschedulable != "" || pod.Spec.NodeName != "" {
		return pod, nil
	}
	changed := pod.DeepCopy()
	changed.Spec.NodeName = nodeName
	placed, err := c.kube.CoreV1().Pods(pod.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("node of pod %q: %w", pod.Name, err)
	}
	return placed, nil
}

func (c *Controller) viewPodStatus(ctx context.Context, pod *corev1.Pod, one *podState) error {
	status := podStatus(pod, one)
	keepPodTimes(&status, &pod.Status)
	if equality.Semantic.DeepEqual(status, pod.Status) {
		return nil
	}
	changed := pod.DeepCopy()
	changed.Status = status
	_, err := c.kube.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if ignoreGone(err) != nil {
		return fmt.Errorf("status of pod %q: %w", pod.Name, err)
	}
	return nil
}

// makePod is the Pod that shows an instance. Nobody keeps ReplicaSets here: the Deployment owns it.
func makePod(p *plan, one *podState, deployment *appsv1.Deployment) *corev1.Pod {
	meta := podMeta(p, one.identity)
	meta.UID = ""
	// The program has been told this UID by the downward API before there was a Pod; the server takes it over from here.
	meta.Annotations = maps.Clone(meta.Annotations)
	metav1.SetMetaDataAnnotation(&meta, labelPodUID, one.uid)
	meta.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment"))}
	spec := *p.deployment.Spec.Template.Spec.DeepCopy()
	if one.unschedulable == "" {
		spec.NodeName = nodeName
	}
	return &corev1.Pod{ObjectMeta: meta, Spec: spec}
}

// podStatus says how an instance does in the words of a kubelet.
func podStatus(pod *corev1.Pod, one *podState) corev1.PodStatus {
	if one.unschedulable != "" {
		return corev1.PodStatus{Phase: corev1.PodPending, QOSClass: pod.Status.QOSClass, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: one.unschedulable, LastTransitionTime: metav1.Now(),
		}}}
	}
	started := metav1.NewTime(one.created)
	status := corev1.PodStatus{
		Phase:     corev1.PodRunning,
		HostIP:    loopback,
		HostIPs:   []corev1.HostIP{{IP: loopback}},
		PodIP:     one.ip,
		PodIPs:    []corev1.PodIP{{IP: one.ip}},
		StartTime: &started,
		QOSClass:  pod.Status.QOSClass,
	}
	s := &one.state
	if one.started.IsZero() || len(s.Containers) == 0 {
		status.Phase = corev1.PodPending
	}
	ready := s.Ready && !one.leaving && !one.frozen
	for _, c := range s.Init {
		status.InitContainerStatuses = append(status.InitContainerStatuses, containerStatus(pod, c))
	}
	for _, c := range s.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(pod, c))
	}
	if hasContainer(pod, queueContainer) {
		running := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		if status.Phase == corev1.PodRunning {
			running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(one.started)}}
		}
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: queueContainer, Image: queueImage, Ready: ready, Started: ptr.Bool(status.Phase == corev1.PodRunning), State: running,
		})
	}
	status.Conditions = slices.Concat(podConditions(one, ready), usersCondition(one), isolationCondition(one))
	if s.Phase == sandbox.PhaseGone {
		status.Phase, status.Reason, status.Message = endPhase(s), s.Reason, s.Message
	}
	return status
}

// conditionUsers says whether the users of an instance are others than the machine's.
const conditionUsers corev1.PodConditionType = "fairlead.dev/UserNamespace"

func usersCondition(one *podState) []corev1.PodCondition {
	u := one.state.Users
	condition := corev1.PodCondition{Type: conditionUsers, LastTransitionTime: metav1.NewTime(one.created)}
	switch {
	case u.Count > 0:
		condition.Status = corev1.ConditionTrue
		condition.Message = fmt.Sprintf("user 0 of the instance is user %d of the machine", u.First)
	case u.Missing != "":
		condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, "Unavailable", u.Missing
	default:
		return nil
	}
	return []corev1.PodCondition{condition}
}

func endPhase(s *sandbox.State) corev1.PodPhase {
	for _, c := range s.Containers {
		if c.Exit == nil || c.Exit.Code != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func podConditions(one *podState, ready bool) []corev1.PodCondition {
	condition := func(kind corev1.PodConditionType, is bool, reason, message string) corev1.PodCondition {
		status := corev1.ConditionTrue
		if is {
			reason, message = "", ""
		} else {
			status = corev1.ConditionFalse
		}
		return corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
	}
	initialized := true
	for _, c := range one.state.Init {
		initialized = initialized && c.Exit != nil && c.Exit.Code == 0
	}
	return []corev1.PodCondition{
		condition(corev1.PodScheduled, true, "", ""),
		condition(corev1.PodInitialized, initialized, "ContainersNotInitialized", "init containers have not ended"),
		condition(corev1.ContainersReady, ready, "ContainersNotReady", one.state.Message),
		condition(corev1.PodReady, ready, "ContainersNotReady", one.state.Message),
	}
}

func keepPodTimes(now, before *corev1.PodStatus) {
	for i := range now.Conditions {
		for _, old := range before.Conditions {
			if n := &now.Conditions[i]; n.Type == old.Type && n.Status == old.Status {
				n.LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	if before.StartTime != nil {
		now.StartTime = before.StartTime
	}
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return true
		}
	}
	return false
}

func containerStatus(pod *corev1.Pod, c sandbox.ContainerStatus) corev1.ContainerStatus {
	status := corev1.ContainerStatus{
		Name:         c.Name,
		Ready:        c.Ready,
		Started:      ptr.Bool(c.Started),
		RestartCount: int32(c.Restarts), //nolint:gosec // far below
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == c.Name {
				status.Image, status.ImageID = list[i].Image, list[i].Image
			}
		}
	}
	switch c.Phase {
	case sandbox.ContainerRunning:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.StartedAt)}
	case sandbox.ContainerExited:
		status.State.Terminated = terminated(c.Exit)
	default:
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: reasonOr(c.Reason, "ContainerCreating"), Message: c.Message}
	}
	last := c.Last
	if c.Phase == sandbox.ContainerWaiting && c.Exit != nil {
		last = c.Exit
	}
	if last != nil {
		status.LastTerminationState.Terminated = terminated(last)
	}
	return status
}

func terminated(e *sandbox.Exit) *corev1.ContainerStateTerminated {
	if e == nil {
		return &corev1.ContainerStateTerminated{}
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: int32(e.Code), Signal: int32(e.Signal), Reason: e.Reason, Message: e.Message, //nolint:gosec // small
		StartedAt: metav1.NewTime(e.Started), FinishedAt: metav1.NewTime(e.Ended),
	}
}
