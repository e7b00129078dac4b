package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestListensElsewhere runs a program that does not look at PORT: the Revision, its Pod and an event say where it listens, and the
// message of the failure too.
func TestListensElsewhere(t *testing.T) {
	h := newHouse(t)
	const what = "nothing listens on port 8080; the program listens on port 3000"
	h.create(t, h.service("stray", "hi", annotated("serving.knative.dev/progress-deadline", "15s"), func(s *v1.Service) {
		c := &s.Spec.Template.Spec.Containers[0]
		c.Env = append(c.Env, corev1.EnvVar{Name: "LISTEN", Value: "3000"})
	}))
	eventually(t, "the revision says where the program listens", func(ctx context.Context) error {
		rev, err := h.serving.ServingV1().Revisions("default").Get(ctx, "stray-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := rev.Status.GetCondition(v1.RevisionConditionReady); c == nil || !c.IsUnknown() || c.Message != what || rev.Status.Annotations["fairlead.dev/listens-on"] != "3000" {
			return fmt.Errorf("status %+v", rev.Status)
		}
		return nil
	})
	eventually(t, "the pod says it", func(ctx context.Context) error {
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "serving.knative.dev/revision=stray-00001"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.ContainersReady && c.Status == corev1.ConditionFalse && c.Message == what {
					return nil
				}
			}
		}
		return fmt.Errorf("pods %+v", pods.Items)
	})
	eventually(t, "an event says it", func(ctx context.Context) error {
		list, err := h.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Revision,involvedObject.name=stray-00001"})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Type == corev1.EventTypeWarning && e.Reason == "Unhealthy" && e.Message == what {
				return nil
			}
		}
		return fmt.Errorf("events %+v", list.Items)
	})
	eventually(t, "the failure says it", func(ctx context.Context) error {
		service, err := h.serving.ServingV1().Services("default").Get(ctx, "stray", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := condition(service, v1.ServiceConditionConfigurationsReady); !c.IsFalse() || c.Reason != "RevisionFailed" || !strings.Contains(c.Message, what) {
			return fmt.Errorf("conditions %+v", service.Status.Conditions)
		}
		rev, err := h.serving.ServingV1().Revisions("default").Get(ctx, "stray-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := rev.Status.GetCondition(v1.RevisionConditionReady); c.Reason != v1.ReasonProgressDeadlineExceeded {
			return fmt.Errorf("reason %s", c.Reason)
		}
		return nil
	})
}
