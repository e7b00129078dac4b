package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// specHash is the annotation by which an instance is known to be as its file still says.
const specHash = "fairlead.dev/spec-hash"

// ensurePod makes an always-on instance be as it should: it makes it, or makes it anew where it is otherwise, since a
// Pod cannot be changed. One that runs to its end runs again.
func (c *client) ensurePod(ctx context.Context, pod *corev1.Pod) error {
	spec, err := json.Marshal(pod.Spec)
	if err != nil {
		return fmt.Errorf("instance %s: %w", pod.Name, err)
	}
	sum := sha256.Sum256(spec)
	pod.Annotations = map[string]string{specHash: hex.EncodeToString(sum[:])}
	pods := c.kube.CoreV1().Pods(pod.Namespace)
	now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for instance %s: %w", pod.Name, err)
	}
	if err == nil {
		if now.Annotations[specHash] == "" {
			return withTry(fmt.Errorf("there is a pod %s that nobody but its maker should replace", pod.Name), "fairlead delete pod %s", pod.Name)
		}
		ended := now.Status.Phase == corev1.PodSucceeded || now.Status.Phase == corev1.PodFailed
		if now.Annotations[specHash] == pod.Annotations[specHash] && !ended && now.DeletionTimestamp == nil {
			return nil
		}
		if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("replace instance %s: %w", pod.Name, err)
		}
		if err := c.waitPodGone(ctx, pod.Namespace, pod.Name); err != nil {
			return err
		}
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("make instance %s: %w", pod.Name, err)
	}
	return nil
}

// waitPod waits until a pod is ready, or has ended well, and tells what it waits for.
func (c *client) waitPod(ctx context.Context, namespace, name string, ended bool, told *progress) error {
	return c.watchPod(ctx, namespace, name, func(pod *corev1.Pod) (bool, error) {
		if pod == nil {
			return false, fmt.Errorf("instance %s was deleted", name)
		}
		if told.due(time.Now()) {
			told.tell(podObstacle(pod, ended))
		}
		if ended {
			return podEnded(pod)
		}
		if reason, message := podTrouble(pod); reason != "" {
			return false, withTry(fmt.Errorf("instance %s does not run: %s: %s", name, reason, message), "fairlead logs %s --previous", name)
		}
		return podReady(pod), nil
	})
}

// podObstacle is what a pod waits for, as far as it says.
func podObstacle(pod *corev1.Pod, ended bool) obstacle {
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReady} {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == kind && condition.Status == corev1.ConditionFalse && condition.Message != "" {
				return obstacle{text: condition.Message}
			}
		}
	}
	if ended && pod.Status.Phase == corev1.PodRunning {
		return obstacle{text: "it runs until it ends"}
	}
	return obstacle{text: "it is not ready"}
}

// podMessage is why a pod is not ready, as far as it says.
func (c *client) podMessage(ctx context.Context, namespace, name string) string {
	pod, err := c.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Message != "" {
			return ": " + condition.Message
		}
	}
	return ""
}

// waitPodGone waits until a pod is no more.
func (c *client) waitPodGone(ctx context.Context, namespace, name string) error {
	return c.watchPod(ctx, namespace, name, func(pod *corev1.Pod) (bool, error) { return pod == nil, nil })
}

func podEnded(pod *corev1.Pod) (bool, error) {
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return true, nil
	case corev1.PodFailed:
		text := fmt.Sprintf("instance %s ended badly", pod.Name)
		for _, s := range pod.Status.ContainerStatuses {
			if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
				text += fmt.Sprintf(": %s, exit code %d", t.Reason, t.ExitCode)
			}
		}
		return false, withTry(fmt.Errorf("%s", text), "fairlead logs %s", pod.Name)
	}
	if reason, message := podTrouble(pod); reason != "" {
		return false, withTry(fmt.Errorf("instance %s does not run: %s: %s", pod.Name, reason, message), "fairlead logs %s", pod.Name)
	}
	return false, nil
}

// podTrouble gives why a pod will not run as it is; empty if it may.
func podTrouble(pod *corev1.Pod) (reason, message string) {
	if pod.Status.Phase == corev1.PodFailed {
		return pod.Status.Reason, pod.Status.Message
	}
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			switch w.Reason {
			case "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RunContainerError":
				return w.Reason, w.Message
			}
		}
	}
	return "", ""
}

// watchPod calls seen with a pod, nil if there is none, whenever it changes, until it says that it is done.
func (c *client) watchPod(ctx context.Context, namespace, name string, seen func(*corev1.Pod) (bool, error)) error {
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	for {
		list, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			return fmt.Errorf("wait for instance %s: %w", name, err)
		}
		var pod *corev1.Pod
		if len(list.Items) > 0 {
			pod = &list.Items[0]
		}
		if done, err := seen(pod); done || err != nil {
			return err
		}
		changes, err := c.kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: list.ResourceVersion})
		if err != nil {
			return fmt.Errorf("wait for instance %s: %w", name, err)
		}
		// Whatever it was that changed, the list tells how things are now; and who waits wants to hear of it without a change.
		select {
		case <-changes.ResultChan():
		case <-time.After(lookAgain):
		}
		changes.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
