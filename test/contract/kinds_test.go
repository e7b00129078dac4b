package contract_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"knative.dev/serving/pkg/apis/serving"
)

func holdsNamespace(t *testing.T, h *house) {
	spaces := h.Kube.CoreV1().Namespaces()
	if _, err := spaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "short-lived"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the default ServiceAccount", func(ctx context.Context) error {
		_, err := h.Kube.CoreV1().ServiceAccounts("short-lived").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	s := h.service("inside")
	s.Namespace = "short-lived"
	h.create(t, s)
	if err := spaces.Delete(t.Context(), "short-lived", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "namespace and Service are gone", func(ctx context.Context) error {
		_, space := spaces.Get(ctx, "short-lived", metav1.GetOptions{})
		_, service := h.Serving.ServingV1().Services("short-lived").Get(ctx, "inside", metav1.GetOptions{})
		if !apierrors.IsNotFound(space) || !apierrors.IsNotFound(service) {
			return fmt.Errorf("namespace: %w, Service: %w", space, service)
		}
		return nil
	})
}

func holdsStringData(t *testing.T, h *house) {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "spelled"}, StringData: map[string]string{"word": "plain"}}
	got, err := h.Kube.CoreV1().Secrets("default").Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil || string(got.Data["word"]) != "plain" || got.StringData != nil {
		t.Errorf("%v %v", got, err)
	}
}

func holdsToken(t *testing.T, h *house) {
	if _, err := h.Kube.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := h.Kube.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(h.REST)
	config.BearerToken = token.Status.Token
	robot, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := robot.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || self.Status.UserInfo.Username != "system:serviceaccount:default:robot" {
		t.Errorf("%v %v", self, err)
	}
	if _, err := robot.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("what nobody allowed: %v, want forbidden", err)
	}
}

// pod waits for a ready pod of a revision whose name is not this one.
func (h *house) pod(t *testing.T, revision, not string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, "a pod of "+revision, func(ctx context.Context) error {
		pods, err := h.Kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{
			LabelSelector: serving.RevisionLabelKey + "=" + revision, FieldSelector: "status.phase!=Pending",
		})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			for _, c := range pods.Items[i].Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pods.Items[i].Name != not {
					found = &pods.Items[i]
					return nil
				}
			}
		}
		return fmt.Errorf("%d pods, none ready and new", len(pods.Items))
	})
	return found
}

func holdsPods(t *testing.T, h *house) {
	h.ready(t, h.service("handled", annotated("autoscaling.knative.dev/min-scale", "1")))
	pod := h.pod(t, "handled-00001", "")
	pods := h.Kube.CoreV1().Pods("default")
	for _, container := range []string{"user-container", "queue-proxy"} {
		if _, err := pods.GetLogs(pod.Name, &corev1.PodLogOptions{Container: container}).DoRaw(t.Context()); err != nil {
			t.Errorf("log of %s: %v", container, err)
		}
	}
	out := h.exec(t, pod.Name, "/app/app", "exit", "0")
	if !strings.Contains(out, "leaving with 0") {
		t.Errorf("exec printed %q", out)
	}
	if err := pods.Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.pod(t, "handled-00001", pod.Name)
}

// exec runs a command in a pod's program container.
func (h *house) exec(t *testing.T, pod string, command ...string) string {
	t.Helper()
	request := h.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").
		Param("container", "user-container").Param("stdout", "true").Param("stderr", "true")
	for _, word := range command {
		request.Param("command", word)
	}
	executor, err := remotecommand.NewWebSocketExecutor(h.REST, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &out}); err != nil {
		t.Fatalf("%v: %v %s", command, err, out.String())
	}
	return out.String()
}

func holdsPlainPod(t *testing.T, h *house) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "main", Image: h.image, Args: []string{"exit", "3"}}},
	}}
	if _, err := h.Kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod fails with code 3", func(ctx context.Context) error {
		got, err := h.Kube.CoreV1().Pods("default").Get(ctx, "plain", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.Phase != corev1.PodFailed || got.Status.ContainerStatuses[0].State.Terminated.ExitCode != 3 {
			return fmt.Errorf("%+v", got.Status)
		}
		return nil
	})
}

func holdsViews(t *testing.T, h *house) {
	h.ready(t, h.service("viewed", annotated("autoscaling.knative.dev/min-scale", "1")))
	eventually(t, "Deployment and EndpointSlices", func(ctx context.Context) error {
		d, err := h.Kube.AppsV1().Deployments("default").Get(ctx, "viewed-00001-deployment", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Spec.Replicas == nil || *d.Spec.Replicas != 1 || d.Status.ReadyReplicas != 1 {
			return fmt.Errorf("deployment: %+v %+v", d.Spec.Replicas, d.Status)
		}
		slices, err := h.Kube.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name"})
		if err != nil {
			return err
		}
		for i := range slices.Items {
			if strings.HasPrefix(slices.Items[i].Labels["kubernetes.io/service-name"], "viewed-00001") && len(slices.Items[i].Endpoints) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%d slices, none of viewed-00001 with an endpoint", len(slices.Items))
	})
}

func holdsConfigMaps(t *testing.T, h *house) {
	for namespace, names := range map[string][]string{
		"knative-serving": {
			"config-autoscaler", "config-network", "config-observability", "config-features", "config-gc", "config-defaults", "config-deployment", "config-domain",
		},
		"knative-eventing": {"config-br-defaults", "default-ch-webhook", "config-features"},
	} {
		for _, name := range names {
			if _, err := h.Kube.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}

func holdsConfigObeyed(t *testing.T, h *house) {
	maps := h.Kube.CoreV1().ConfigMaps("knative-serving")
	patch := `{"data":{"max-revision-timeout-seconds":"700"}}`
	over := func(ctx context.Context) error {
		s := h.service("patient")
		s.Spec.Template.Spec.TimeoutSeconds = new(int64)
		*s.Spec.Template.Spec.TimeoutSeconds = 650
		_, err := h.Serving.ServingV1().Services("default").Create(ctx, s, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	if err := over(t.Context()); err == nil || !strings.Contains(err.Error(), "spec.template.spec.timeoutSeconds") {
		t.Errorf("a timeout over the limit: %v", err)
	}
	if _, err := maps.Patch(t.Context(), "config-defaults", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new limit", over)
}
