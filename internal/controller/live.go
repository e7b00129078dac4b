package controller

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// Pod finds the instance behind a pod. The error is a NotFound of the API.
func (c *Controller) Pod(namespace, pod string) (*sandbox.Instance, error) {
	if m, ok := c.boxes.find(namespace, pod); ok {
		return m.instance, nil
	}
	return nil, apierrs.NewNotFound(corev1.Resource("pods"), pod)
}

// LogDir is where the log of a pod is, also for some time after its instance has ended, and a channel that is closed when nothing
// is added any more. container may be empty when the pod has one only; the name that is meant is given back.
func (c *Controller) LogDir(namespace, pod, container string) (dir, name string, done <-chan struct{}, err error) {
	instance, err := c.Pod(namespace, pod)
	if err != nil {
		return "", "", nil, err
	}
	name, err = containerOf(instance, container)
	if err != nil {
		return "", "", nil, err
	}
	return instance.LogDir(), name, instance.Done(), nil
}

// containerOf finds the container that is meant. The container queue-proxy exists in name only; its log is empty.
func containerOf(instance *sandbox.Instance, container string) (string, error) {
	spec := instance.Spec()
	var names []string
	for _, list := range [][]sandbox.Container{spec.Containers, spec.Init} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	switch {
	case container == "":
		return spec.Containers[0].Name, nil
	case container == queueContainer || slices.Contains(names, container):
		return container, nil
	}
	return "", apierrs.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s; its containers are %s",
		container, instance.Labels()[labelPod], strings.Join(names, ", ")))
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
