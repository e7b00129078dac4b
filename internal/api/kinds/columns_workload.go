package kinds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

func sortStrings(s []string) { slices.Sort(s) }

func podColumns() *columns {
	return &columns{
		names: []column{text("Ready", "Containers ready, of all."), text("Status", "Phase, or why it is not running."), text("Restarts", "Restarts of all containers."), ageColumn(),
			wide("IP", "Address."), wide("Node", "Machine."), wide("Nominated Node", "Machine it may go to."), wide("Readiness Gates", "Further conditions met, of all.")},
		cells: func(o runtime.Object, now time.Time) []any {
			p := o.(*corev1.Pod)
			ready := 0
			for _, c := range p.Status.ContainerStatuses {
				if c.Ready && c.State.Running != nil {
					ready++
				}
			}
			return []any{fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers)), podStatus(p), podRestarts(p, now), age(p.CreationTimestamp, now),
				orText(p.Status.PodIP, none), orText(p.Spec.NodeName, none), orText(p.Status.NominatedNodeName, none), readinessGates(p)}
		},
	}
}

// podStatus is the one word that says best how a pod is.
func podStatus(p *corev1.Pod) string {
	status := orText(p.Status.Reason, string(p.Status.Phase))
	for i := range p.Status.InitContainerStatuses {
		if word, blocked := initStatus(p, i); blocked {
			return word
		}
	}
	for _, c := range slices.Backward(p.Status.ContainerStatuses) {
		if word := containerStatus(c); word != "" {
			status = word
		}
	}
	switch {
	case p.DeletionTimestamp != nil && p.Status.Reason == "NodeLost":
		return "Unknown"
	case p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
		return "Terminating"
	case status == "Completed" && slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Ready && c.State.Running != nil }):
		return "Running"
	}
	return status
}

func containerStatus(c corev1.ContainerStatus) string {
	switch s := c.State; {
	case s.Waiting != nil:
		return s.Waiting.Reason
	case s.Terminated != nil && s.Terminated.Reason != "":
		return s.Terminated.Reason
	case s.Terminated != nil && s.Terminated.Signal != 0:
		return fmt.Sprintf("Signal:%d", s.Terminated.Signal)
	case s.Terminated != nil:
		return fmt.Sprintf("ExitCode:%d", s.Terminated.ExitCode)
	}
	return ""
}

// initStatus says what the i-th init container does, if the pod waits for it.
func initStatus(p *corev1.Pod, i int) (word string, blocked bool) {
	c := p.Status.InitContainerStatuses[i]
	switch {
	case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
		return "", false
	case c.Started != nil && *c.Started && restartsAlways(p, c.Name):
		return "", false
	case c.State.Terminated != nil:
		return "Init:" + containerStatus(c), true
	case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
		return "Init:" + c.State.Waiting.Reason, true
	}
	return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers)), true
}

func restartsAlways(p *corev1.Pod, container string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == container && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

func podRestarts(p *corev1.Pod, now time.Time) string {
	var count int32
	var last metav1.Time
	for _, c := range p.Status.ContainerStatuses {
		count += c.RestartCount
		if t := c.LastTerminationState.Terminated; t != nil && last.Before(&t.FinishedAt) {
			last = t.FinishedAt
		}
	}
	if count > 0 && !last.IsZero() {
		return fmt.Sprintf("%d (%s ago)", count, age(last, now))
	}
	return fmt.Sprint(count)
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue }) {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

func deploymentColumns() *columns {
	return &columns{
		names: []column{text("Ready", "Replicas ready, of those wanted."), number("Up-to-date", "Replicas of the present template."), number("Available", "Replicas available."), ageColumn(),
			wide("Containers", "Names of the containers."), wide("Images", "Images of the containers."), wide("Selector", "Labels of the instances.")},
		cells: func(o runtime.Object, now time.Time) []any {
			d := o.(*appsv1.Deployment)
			var wanted int32
			if d.Spec.Replicas != nil {
				wanted = *d.Spec.Replicas
			}
			containers, images := containerNames(d.Spec.Template.Spec.Containers)
			return []any{fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, wanted), int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), age(d.CreationTimestamp, now),
				containers, images, metav1.FormatLabelSelector(d.Spec.Selector)}
		},
	}
}

func containerNames(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func jobColumns() *columns {
	return &columns{
		names: []column{text("Status", "Running, Complete, Failed or Suspended."), text("Completions", "Completions, of those wanted."), text("Duration", "How long it has run."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			j := o.(*batchv1.Job)
			wanted := int32(1)
			if j.Spec.Completions != nil {
				wanted = *j.Spec.Completions
			}
			return []any{jobStatus(j), fmt.Sprintf("%d/%d", j.Status.Succeeded, wanted), jobDuration(j, now), age(j.CreationTimestamp, now)}
		},
	}
}

func jobStatus(j *batchv1.Job) string {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed, batchv1.JobSuspended:
			return string(c.Type)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	return "Running"
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(now.Sub(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}
