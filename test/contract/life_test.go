package contract_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

var lifePromises = []promise{
	{"a service goes to zero and answers the next request", holdsZero},
	{"readiness is probed by HTTP, TCP and a command, with period 0 and 1", holdsReadiness},
	{"an instance that is not ready any more is taken out of service", holdsUnready},
	{"a failing liveness probe restarts the program and counts it", holdsLiveness},
	{"an instance that exceeds its memory ends, and the next request finds a new one", holdsMemory},
	{"before an instance ends, its request in flight finishes and it is told", holdsShutdown},
	{"a revision that cannot serve yet is started once to prove it", holdsProof},
}

func holdsZero(t *testing.T, h *house) {
	h.ready(t, h.service("resting", annotated("autoscaling.knative.dev/window", "6s")))
	eventually(t, "no instance", func(ctx context.Context) error {
		pods, err := h.Kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: serving.RevisionLabelKey + "=resting-00001"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods", len(pods.Items))
		}
		return err
	})
	if got := h.ask(t, "resting", "/"); got != "resting" {
		t.Errorf("answered %q", got)
	}
}

func holdsReadiness(t *testing.T, h *house) {
	for kind, handler := range map[string]corev1.ProbeHandler{
		"http": {HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}},
		"tcp":  {TCPSocket: &corev1.TCPSocketAction{}},
		"exec": {Exec: &corev1.ExecAction{Command: []string{"/app/app", "alive"}}},
	} {
		for _, period := range []int32{0, 1} {
			h.ready(t, h.service(fmt.Sprintf("readiness-%s-%d", kind, period), container(func(c *corev1.Container) {
				c.ReadinessProbe = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: period}
			})))
		}
	}
}

func holdsUnready(t *testing.T, h *house) {
	h.ready(t, h.service("sickening", annotated("autoscaling.knative.dev/min-scale", "1"), annotated("autoscaling.knative.dev/max-scale", "1"),
		container(func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}}, PeriodSeconds: 1, FailureThreshold: 3}
		})))
	pod := h.pod(t, "sickening-00001", "")
	h.ask(t, "sickening", "/sicken")
	eventually(t, "the pod is not ready", func(ctx context.Context) error {
		now, err := h.Kube.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range now.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse {
				return nil
			}
		}
		return fmt.Errorf("%+v", now.Status.Conditions)
	})
}

func holdsLiveness(t *testing.T, h *house) {
	h.ready(t, h.service("revived", annotated("autoscaling.knative.dev/min-scale", "1"), container(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}}, PeriodSeconds: 1, FailureThreshold: 3}
	})))
	pod := h.pod(t, "revived-00001", "")
	h.ask(t, "revived", "/sicken")
	eventually(t, "the restart", func(ctx context.Context) error {
		now, err := h.Kube.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range now.Status.ContainerStatuses {
			if c.Name == "user-container" && c.RestartCount > 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", now.Status.ContainerStatuses)
	})
	eventually(t, "it answers again", func(ctx context.Context) error {
		status, _, err := h.send(ctx, h.host("revived"), "/healthz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d", status)
		}
		return err
	})
}

func holdsMemory(t *testing.T, h *house) {
	h.ready(t, h.service("hungry", container(func(c *corev1.Container) {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	})))
	if status, body, err := h.send(t.Context(), h.host("hungry"), "/eat?mb=200"); err != nil || status < 500 {
		t.Errorf("eating more than the limit: %d %q %v, want an error", status, body, err)
	}
	eventually(t, "the service answers again", func(ctx context.Context) error {
		status, body, err := h.send(ctx, h.host("hungry"), "/")
		if err == nil && (status != http.StatusOK || body != "hungry") {
			err = fmt.Errorf("%d %q", status, body)
		}
		return err
	})
}

func holdsShutdown(t *testing.T, h *house) {
	h.ready(t, h.service("leaving", annotated("autoscaling.knative.dev/min-scale", "1")))
	pod := h.pod(t, "leaving-00001", "")
	answered := make(chan string, 1)
	begun := make(chan struct{})
	go func() {
		request, _ := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+h.host("leaving")+"/slow?then=3s", nil)
		response, err := h.client.Do(request)
		close(begun) // the header has come
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answered <- fmt.Sprint(string(body), err)
	}()
	<-begun
	logs, err := h.Kube.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{Container: "user-container", Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if err := h.Kube.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != "begun done<nil>" {
		t.Errorf("the request in flight got %q", got)
	}
	var log strings.Builder
	buffer := make([]byte, 4096)
	for n, err := logs.Read(buffer); err == nil && !strings.Contains(log.String(), "told to end"); n, err = logs.Read(buffer) {
		log.Write(buffer[:n])
	}
	if !strings.Contains(log.String(), "told to end") {
		t.Errorf("the program was not told to end: %q", log.String())
	}
}

func holdsProof(t *testing.T, h *house) {
	h.create(t, h.service("unproven", annotated("autoscaling.knative.dev/min-scale", "0"), container(func(c *corev1.Container) {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(7)}}}
		c.Args = []string{"exit", "9"}
	}), func(s *v1.Service) { s.Spec.Traffic = nil }))
	h.until(t, "unproven", func(s *v1.Service) error {
		if c := s.Status.GetCondition(v1.ServiceConditionConfigurationsReady); !c.IsFalse() || c.Reason != "RevisionFailed" {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}
