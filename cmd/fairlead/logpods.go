package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// loggedPods are the instances of a query that have a log: those that are gone, oldest first, and those that are there.
// The version is that of the list of the latter.
func (c *client) loggedPods(ctx context.Context, query logQuery) (pods []corev1.Pod, version string, err error) {
	list, err := c.kube.CoreV1().Pods(query.namespace).List(ctx, query.listOptions())
	if err != nil {
		return nil, "", fmt.Errorf("list the instances: %w", err)
	}
	gone, err := c.endedPods(ctx, query)
	if err != nil {
		return nil, "", err
	}
	there := map[string]bool{}
	for i := range list.Items {
		there[list.Items[i].Name] = true
	}
	// The list of what is gone was asked for second: an instance that ended in between is in both, and counts once.
	for i := len(gone) - 1; i >= 0; i-- {
		if !there[gone[i].Name] {
			pods = append(pods, gone[i])
			there[gone[i].Name] = true // the log of an earlier one of the same name cannot be told apart
		}
	}
	for i := range list.Items {
		if list.Items[i].Status.Phase != corev1.PodPending {
			pods = append(pods, list.Items[i])
		}
	}
	return pods, list.ResourceVersion, nil
}

// endedPods are the instances of a query that are gone and whose logs are kept, youngest first. A cluster that is not Fairlead's
// keeps none.
func (c *client) endedPods(ctx context.Context, query logQuery) ([]corev1.Pod, error) {
	selector, err := labels.Parse(query.selector)
	if err != nil {
		return nil, fmt.Errorf("list the instances that are gone: %w", err)
	}
	field, err := fields.ParseSelector(query.field)
	if err != nil {
		return nil, fmt.Errorf("list the instances that are gone: %w", err)
	}
	var all []corev1.Pod
	for _, name := range query.past {
		var list corev1.PodList
		err := c.kube.CoreV1().RESTClient().Get().Namespace(query.namespace).Resource("services").Name(name).SubResource("ended").Do(ctx).Into(&list)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the instances that are gone: %w", err)
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if selector.Matches(labels.Set(pod.Labels)) && field.Matches(fields.Set{"metadata.name": pod.Name}) {
				all = append(all, *pod)
			}
		}
	}
	return all, nil
}

// listOptions select the instances of a query that are there.
func (q logQuery) listOptions() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: q.selector, FieldSelector: q.field}
}
