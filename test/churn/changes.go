package main

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// service is what the load asks for while it is changed.
const service = "churn"

// changeTime bounds one change.
const changeTime = 2 * time.Minute

// change is one thing that no request may notice.
type change struct {
	name string
	do   func(ctx context.Context, h *host) error
}

// changes are made one after the other, again and again.
var changes = []change{
	{"a new revision takes over", deploy},
	{"traffic is moved from 0 to 100", shift},
	{"scaled to 10", func(ctx context.Context, h *host) error { return scale(ctx, h, 10) }},
	{"an instance is deleted", deletePod},
	{"the daemon restarts", restart},
	{"scaled from 10 to 1", func(ctx context.Context, h *host) error { return scale(ctx, h, 1) }},
	{"another daemon takes over", takeover},
}

// create defines the service and waits for it.
func create(ctx context.Context, h *host, image string) error {
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: service}}
	s.Spec.Template.Annotations = bounds(1)
	s.Spec.Template.Spec.Containers = []corev1.Container{{Image: image}}
	s.Spec.Template.Spec.ContainerConcurrency = ptr.Int64(50)
	created, err := h.Serving.ServingV1().Services("default").Create(ctx, s, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return settled(ctx, h, created.Generation)
}

func bounds(n int) map[string]string {
	return map[string]string{"autoscaling.knative.dev/min-scale": fmt.Sprint(n), "autoscaling.knative.dev/max-scale": fmt.Sprint(max(n, 2))}
}

// patch changes the spec of the service and waits until that is in force.
func patch(ctx context.Context, h *host, spec map[string]any) error {
	data, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	s, err := h.Serving.ServingV1().Services("default").Patch(ctx, service, types.MergePatchType, data, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return settled(ctx, h, s.Generation)
}

func settled(ctx context.Context, h *host, generation int64) error {
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		s, err := h.Serving.ServingV1().Services("default").Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return s.Status.ObservedGeneration >= generation && s.IsReady(), nil
	})
}

// annotate makes a template that differs from the one before.
func annotate(annotations map[string]string) map[string]any {
	all := map[string]string{"example.com/changed": time.Now().Format(time.RFC3339Nano)}
	for k, v := range annotations {
		all[k] = v
	}
	return map[string]any{"metadata": map[string]any{"annotations": all}}
}

func latest(percent int64) map[string]any {
	return map[string]any{"latestRevision": true, "percent": percent}
}

func deploy(ctx context.Context, h *host) error {
	return patch(ctx, h, map[string]any{"template": annotate(nil), "traffic": []any{latest(100)}})
}

// shift makes a revision without traffic and gives it half, then all of it.
func shift(ctx context.Context, h *host) error {
	s, err := h.Serving.ServingV1().Services("default").Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	old := func(percent int64) map[string]any {
		return map[string]any{"revisionName": s.Status.LatestReadyRevisionName, "percent": percent}
	}
	if err := patch(ctx, h, map[string]any{"template": annotate(nil), "traffic": []any{old(100), latest(0)}}); err != nil {
		return err
	}
	if err := patch(ctx, h, map[string]any{"traffic": []any{old(50), latest(50)}}); err != nil {
		return err
	}
	return patch(ctx, h, map[string]any{"traffic": []any{latest(100)}})
}

// scale makes a revision with as many instances and waits until there are no others.
func scale(ctx context.Context, h *host, n int) error {
	if err := patch(ctx, h, map[string]any{"template": annotate(bounds(n)), "traffic": []any{latest(100)}}); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		s, err := h.Serving.ServingV1().Services("default").Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		r, err := h.Serving.ServingV1().Revisions("default").Get(ctx, s.Status.LatestReadyRevisionName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return r.Status.ActualReplicas != nil && int(*r.Status.ActualReplicas) >= n, nil
	})
}

// deletePod deletes an instance that takes requests, as kubectl does, and waits until it is gone.
func deletePod(ctx context.Context, h *host) error {
	s, err := h.Serving.ServingV1().Services("default").Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods := h.Kube.CoreV1().Pods("default")
	var name string
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) { // pods are shown a moment after they are there
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "serving.knative.dev/revision=" + s.Status.LatestReadyRevisionName, FieldSelector: "status.phase=Running"})
		if err != nil || len(list.Items) == 0 {
			return false, err
		}
		name = list.Items[0].Name
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		return err == nil && len(list.Items) == 0, err
	})
}

// restart is what systemctl restart does.
func restart(ctx context.Context, h *host) error {
	if err := h.End(syscall.SIGTERM); err != nil {
		return err
	}
	return h.Start(ctx)
}

// takeover starts a daemon that asks the running one to leave.
func takeover(ctx context.Context, h *host) error { return h.Takeover(ctx) }
