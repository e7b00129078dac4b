package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// instance finds a running instance: the one of that name, else one of the service of that name, of the newest revision
// that has one.
func (c *client) instance(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod, err := c.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if pod.Status.Phase != corev1.PodRunning {
			return nil, withTry(fmt.Errorf("instance %s is not running: it is %s", name, pod.Status.Phase), "fairlead get pods -n %s", namespace)
		}
		return pod, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("look for instance %s: %w", name, err)
	}
	_, err = c.getService(ctx, namespace, name)
	if errors.Is(err, errNoService) {
		return nil, withTry(fmt.Errorf("there is no service or instance %s in namespace %s", name, namespace), "fairlead list --all-namespaces")
	}
	if err != nil {
		return nil, err
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: serviceLabel + "=" + name})
	if err != nil {
		return nil, fmt.Errorf("list the instances of %s: %w", name, err)
	}
	best := pickInstance(pods.Items)
	if best == nil {
		return nil, withTry(fmt.Errorf("service %s has no running instance now", name), "call it, or keep one: fairlead scale %s 1..", name)
	}
	return best, nil
}

// pickInstance prefers ready instances, then those of newer revisions, then older ones; nil if none runs.
func pickInstance(pods []corev1.Pod) *corev1.Pod {
	var best *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
			continue
		}
		if best == nil || betterInstance(p, best) {
			best = p
		}
	}
	return best
}

func betterInstance(a, b *corev1.Pod) bool {
	if x, y := podReady(a), podReady(b); x != y {
		return x
	}
	if x, y := a.Labels[revisionLabel], b.Labels[revisionLabel]; x != y {
		return x > y
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// userContainer is the container that a command means when it names none: the first that is the user's.
func userContainer(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if c.Name != queueProxy {
			return c.Name
		}
	}
	return ""
}

// instanceNames completes services and instances.
func instanceNames(target *clientFlags) cobra.CompletionFunc {
	services := serviceNames(target)
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names, directive := services(cmd, args, typed)
		if len(args) > 0 || directive == cobra.ShellCompDirectiveError {
			return names, directive
		}
		c, err := target.dial(cmd)
		if err != nil {
			return names, directive
		}
		pods, err := c.kube.CoreV1().Pods(target.namespace).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return names, directive
		}
		for _, p := range pods.Items {
			if p.Status.Phase == corev1.PodRunning {
				names = append(names, p.Name)
			}
		}
		return names, directive
	}
}
