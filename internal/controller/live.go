package controller

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// Pod finds the instance behind a pod. The error is a NotFound of the API.
func (c *Controller) Pod(namespace, pod string) (*sandbox.Instance, error) {
	if m, ok := c.boxes.find(namespace, pod); ok {
		return m.instance, nil
	}
	return nil, apierrs.NewNotFound(corev1.Resource("pods"), pod)
}

// PodLog is where one container of a pod wrote to.
type PodLog struct {
	// Dir is to be read with package logs. That of the container queue-proxy, which exists in name only, is kept by somebody else.
	Dir       string
	Container string
	// Status is the container's; nil for queue-proxy.
	Status *sandbox.ContainerStatus
	// Done is closed when nothing is added any more; nil if the instance is gone.
	Done <-chan struct{}
}

// PodLog finds the log of a container of a pod, also when its instance is gone and its log still kept. An empty name means the first
// container. The errors are a NotFound and a BadRequest of the API.
func (c *Controller) PodLog(ctx context.Context, namespace, pod, container string) (PodLog, error) {
	if instance, err := c.Pod(namespace, pod); err == nil {
		return findLog(PodLog{Dir: instance.LogDir(), Done: instance.Done()}, instance.State(), pod, container)
	}
	gone, err := c.ended(ctx, namespace)
	if err != nil {
		return PodLog{}, err
	}
	for _, e := range gone {
		if e.Labels[labelPod] == pod {
			return findLog(PodLog{Dir: c.conf.Sandboxes.LogDir(e.ID)}, e.State, pod, container)
		}
	}
	return PodLog{}, apierrs.NewNotFound(corev1.Resource("pods"), pod)
}

// findLog completes a log by the container that is meant.
func findLog(l PodLog, state sandbox.State, pod, container string) (PodLog, error) {
	var names []string
	for _, list := range [][]sandbox.ContainerStatus{state.Containers, state.Init} {
		for i := range list {
			if container == "" || container == list[i].Name {
				l.Container, l.Status = list[i].Name, &list[i]
				return l, nil
			}
			names = append(names, list[i].Name)
		}
	}
	if container == queueContainer {
		l.Container = container
		return l, nil
	}
	return PodLog{}, apierrs.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s; its containers are %s", container, pod, strings.Join(names, ", ")))
}

// ended gives the instances of a namespace that are gone and whose logs are kept, youngest first. Those of an earlier namespace of
// that name belonged to somebody else.
func (c *Controller) ended(ctx context.Context, namespace string) ([]sandbox.Ended, error) {
	now, err := c.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var since time.Time
	if namespace != metav1.NamespaceDefault { // which cannot be deleted
		since = now.CreationTimestamp.Truncate(time.Second).Add(time.Second) // the API counts in seconds
	}
	var all []sandbox.Ended
	for _, e := range c.conf.Sandboxes.Ended() {
		if e.Labels[labelNamespace] == namespace && !e.State.Created.Before(since) {
			all = append(all, e)
		}
	}
	slices.Reverse(all)
	return all, nil
}

// Ended shows the instances of a service that are gone and whose logs are kept as the pods they were, youngest first; likewise a
// plain pod of that name. Those that run are shown by the API when it returns.
func (c *Controller) Ended(ctx context.Context, namespace, service string) ([]corev1.Pod, error) {
	if err := c.showPods(ctx, namespace, service); err != nil {
		return nil, err
	}
	gone, err := c.ended(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var all []corev1.Pod
	for _, e := range gone {
		if e.Labels[labelService] == service || e.Labels[labelPod] == service {
			all = append(all, endedPod(e))
		}
	}
	return all, nil
}

// endedPod is the pod of an instance that is gone, as far as it is still known.
func endedPod(e sandbox.Ended) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: e.Labels[labelPod], Namespace: e.Labels[labelNamespace], UID: types.UID(e.Labels[labelPodUID]),
		CreationTimestamp: metav1.NewTime(e.State.Created), DeletionTimestamp: &metav1.Time{Time: e.At},
		Labels: map[string]string{},
	}}
	for key, from := range map[string]string{serving.ServiceLabelKey: labelService, serving.RevisionLabelKey: labelRevision} {
		if value := e.Labels[from]; value != "" {
			pod.Labels[key] = value
		}
	}
	for i := range e.State.Init {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: e.State.Init[i].Name})
	}
	for i := range e.State.Containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: e.State.Containers[i].Name})
	}
	pod.Status = podStatus(&pod, &podState{
		identity: identity{name: pod.Name, uid: string(pod.UID), ip: e.Labels[labelIP]},
		created:  e.State.Created, started: e.State.Started, state: e.State,
	})
	pod.Status.Conditions = nil // nobody noted when they changed
	if pod.Labels[serving.RevisionLabelKey] != "" {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: queueContainer})
	}
	return pod
}

// PortForward opens a connection to a port inside a pod.
func (c *Controller) PortForward(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	instance, err := c.Pod(namespace, pod)
	if err != nil {
		return nil, err
	}
	if port < 1 || port > 65535 {
		return nil, apierrs.NewBadRequest(fmt.Sprintf("%d is not a port", port))
	}
	return instance.Dial(ctx, uint16(port))
}
