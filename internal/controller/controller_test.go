package controller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

const windowAnnotation = "autoscaling.knative.dev/window"

// TestServing drives one whole Fairlead through what its users do.
func TestServing(t *testing.T) {
	h := newHouse(t)
	for name, test := range map[string]func(*testing.T, *house){
		"update without a failed request": testUpdate,
		"to zero and back":                testZero,
		"a crash is told":                 testCrash,
		"a missing image is told":         testMissingImage,
		"images behind a login":           testPullSecrets,
		"a deleted pod is replaced":       testPodDeleted,
		"a deleted revision comes back":   testRevisionDeleted,
		"files follow their ConfigMap":    testFilesFollow,
		"a service calls another":         testCall,
		"allow-from":                      testAllowFrom,
		"out of memory":                   testOutOfMemory,
		"a plain pod":                     testPlainPod,
		"deletion leaves nothing":         testDelete,
		"settings hold at once":           testSettings,
		"gradual rollout":                 testRollout,
		"old revisions are collected":     testCollect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, h)
		})
	}
}

func testUpdate(t *testing.T, h *house) {
	service := h.ready(t, h.service("update", "one"))
	if got := service.Status.URL.String(); got != "http://update.default.localhost" {
		t.Errorf("URL %s", got)
	}
	h.expect(t, host("update"), "/", "one update-00001")
	rev, err := h.serving.ServingV1().Revisions("default").Get(t.Context(), "update-00001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if digest := rev.Status.ContainerStatuses[0].ImageDigest; !strings.HasPrefix(digest, h.image+"@sha256:") {
		t.Errorf("image digest %q, want %s@sha256:...", digest, h.image)
	}
	ctx, stop := context.WithCancel(t.Context())
	var prober sync.WaitGroup
	var failed error
	prober.Go(func() {
		for ctx.Err() == nil && failed == nil {
			status, body, err := h.get(context.WithoutCancel(ctx), host("update"), "/")
			if err != nil || status != http.StatusOK {
				failed = fmt.Errorf("%d %q %w", status, body, err)
			}
		}
	})
	h.update(t, "update", func(s *v1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	h.waitReady(t, "update", "update-00002")
	h.expect(t, host("update"), "/", "two update-00002")
	stop()
	prober.Wait()
	if failed != nil {
		t.Errorf("a request failed during the update: %v", failed)
	}
}

func testZero(t *testing.T, h *house) {
	h.ready(t, h.service("zero", "back", annotated(windowAnnotation, "6s")))
	eventually(t, "zero instances", func(ctx context.Context) error {
		return h.instances(ctx, "zero-00001", 0)
	})
	eventually(t, "no pods", func(ctx context.Context) error {
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: serving.RevisionLabelKey + "=zero-00001"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods at zero", len(pods.Items))
		}
		return err
	})
	h.expect(t, host("zero"), "/", "back zero-00001")
}

// instances says whether a revision tells so many actual replicas.
func (h *house) instances(ctx context.Context, revision string, want int32) error {
	rev, err := h.serving.ServingV1().Revisions("default").Get(ctx, revision, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := rev.Status.ActualReplicas; got == nil || *got != want {
		return fmt.Errorf("actual replicas %v, want %d", got, want)
	}
	return nil
}

func testCrash(t *testing.T, h *house) {
	h.create(t, h.service("crash", "", func(s *v1.Service) {
		s.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "EXIT", Value: "7"}}
	}))
	eventually(t, "the crash is told", func(ctx context.Context) error {
		rev, err := h.serving.ServingV1().Revisions("default").Get(ctx, "crash-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		c := rev.Status.GetCondition(v1.RevisionConditionContainerHealthy)
		if c == nil || c.Reason != "ExitCode7" || c.Message != "Container failed with: leaving with 7" {
			return fmt.Errorf("%+v", c)
		}
		service, err := h.serving.ServingV1().Services("default").Get(ctx, "crash", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := condition(service, v1.ServiceConditionConfigurationsReady); !c.IsFalse() || c.Reason != "RevisionFailed" ||
			!strings.Contains(c.Message, "Container failed with: leaving with 7") {
			return fmt.Errorf("%+v", c)
		}
		if c := condition(service, v1.ServiceConditionRoutesReady); !c.IsFalse() || c.Reason != "RevisionMissing" {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func testMissingImage(t *testing.T, h *house) {
	h.create(t, h.service("missing", "", func(s *v1.Service) { s.Spec.Template.Spec.Containers[0].Image = h.image + ":none" }))
	eventually(t, "the missing image is told", func(ctx context.Context) error {
		rev, err := h.serving.ServingV1().Revisions("default").Get(ctx, "missing-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		c := rev.Status.GetCondition(v1.RevisionConditionReady)
		if !c.IsFalse() || c.Reason != v1.ReasonContainerMissing || !strings.HasPrefix(c.Message, `Unable to fetch image "`+h.image+`:none": failed to resolve image to digest: `) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func testPodDeleted(t *testing.T, h *house) {
	h.ready(t, h.service("replace", "here", annotated("autoscaling.knative.dev/min-scale", "1")))
	before := h.pod(t, "replace-00001", "")
	if err := h.kube.CoreV1().Pods("default").Delete(t.Context(), before.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.expect(t, host("replace"), "/", "here replace-00001")
	h.pod(t, "replace-00001", before.Name)
}

// pod waits for a ready pod of a revision that is not this one.
func (h *house) pod(t *testing.T, revision, not string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, "a pod of "+revision, func(ctx context.Context) error {
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: serving.RevisionLabelKey + "=" + revision})
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
		return fmt.Errorf("%d pods, none ready", len(pods.Items))
	})
	return found
}

func testFilesFollow(t *testing.T, h *house) {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "words", Namespace: "default"}, Data: map[string]string{"word": "first"}}
	if _, err := h.kube.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.ready(t, h.service("files", "", func(s *v1.Service) {
		pod := &s.Spec.Template.Spec.PodSpec
		pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "words"}},
		}}}
		pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/words", ReadOnly: true}}
	}))
	h.expect(t, host("files"), "/file?name=/words/word", "first")
	m.Data["word"] = "second"
	if _, err := h.kube.CoreV1().ConfigMaps("default").Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file follows", func(ctx context.Context) error {
		_, body, err := h.get(ctx, host("files"), "/file?name=/words/word")
		if body != "second" {
			return fmt.Errorf("%q %w", body, err)
		}
		return nil
	})
}

func testCall(t *testing.T, h *house) {
	h.ready(t, h.service("callee", "hello", func(s *v1.Service) {
		s.Labels = map[string]string{"networking.knative.dev/visibility": "cluster-local"}
	}))
	h.ready(t, h.service("caller", ""))
	for _, name := range []string{"callee.default.svc.cluster.local", "callee.default.svc", "callee.default", "callee"} {
		h.expect(t, host("caller"), "/call?url=http://"+name+"/", "hello callee-00001")
	}
	if status, _, err := h.get(t.Context(), "callee.default.svc.cluster.local", "/"); err != nil || status != http.StatusNotFound {
		t.Errorf("a cluster-local service from outside: %d %v, want 404", status, err)
	}
}

func testAllowFrom(t *testing.T, h *house) {
	h.ready(t, h.service("guarded", "in", func(s *v1.Service) {
		s.Annotations = map[string]string{"fairlead.dev/allow-from": "default/friend"}
	}))
	h.ready(t, h.service("friend", ""))
	h.ready(t, h.service("stranger", ""))
	h.expect(t, host("friend"), "/call?url=http://guarded/", "in guarded-00001")
	for name, path := range map[string]string{host("stranger"): "/call?url=http://guarded/", host("guarded"): "/"} {
		if status, _, err := h.get(t.Context(), name, path); err != nil || status != http.StatusForbidden {
			t.Errorf("%s%s: %d %v, want 403", name, path, status, err)
		}
	}
	// A mapping, whose own list names nobody, is no way around it.
	h.mapDomain(t, "guarded.example.org", "guarded")
	h.mapDomain(t, "friend.example.org", "friend")
	h.expect(t, "friend.example.org", "/call?url=http://guarded/", "in guarded-00001")
	h.expect(t, "friend.example.org", "/call?url=http://guarded.example.org/", "in guarded-00001")
	for name, path := range map[string]string{host("stranger"): "/call?url=http://guarded.example.org/", "guarded.example.org": "/"} {
		if status, _, err := h.get(t.Context(), name, path); err != nil || status != http.StatusForbidden {
			t.Errorf("%s%s: %d %v, want 403", name, path, status, err)
		}
	}
}

func testOutOfMemory(t *testing.T, h *house) {
	h.ready(t, h.service("eater", "alive", func(s *v1.Service) {
		s.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	}))
	if status, _, err := h.get(t.Context(), host("eater"), "/eat?mb=200"); err != nil || status < 500 {
		t.Errorf("eating more than the limit: %d %v, want an error", status, err)
	}
	// A request that comes while the kernel still ends the program may be lost with it.
	eventually(t, "the service answers again", func(ctx context.Context) error {
		status, body, err := h.get(ctx, host("eater"), "/")
		if err != nil || status != http.StatusOK || body != "alive eater-00001" {
			return fmt.Errorf("%d %q %w", status, body, err)
		}
		return nil
	})
	eventually(t, "an event tells", func(ctx context.Context) error {
		events, err := h.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=eater-00001"})
		if err != nil {
			return err
		}
		for i := range events.Items {
			if events.Items[i].Reason == "OOMKilled" {
				return nil
			}
		}
		return fmt.Errorf("%d events, none OOMKilled", len(events.Items))
	})
}

func testPlainPod(t *testing.T, h *house) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain", Namespace: "default"}, Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "main", Image: h.image, Env: []corev1.EnvVar{{Name: "EXIT", Value: "3"}}}},
	}}
	if _, err := h.kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod fails with code 3", func(ctx context.Context) error {
		got, err := h.kube.CoreV1().Pods("default").Get(ctx, "plain", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.Phase != corev1.PodFailed || got.Status.ContainerStatuses[0].State.Terminated.ExitCode != 3 {
			return fmt.Errorf("%+v", got.Status)
		}
		return nil
	})
}

func testDelete(t *testing.T, h *house) {
	h.ready(t, h.service("gone", "x", annotated("autoscaling.knative.dev/min-scale", "1")))
	h.pod(t, "gone-00001", "")
	foreground := metav1.DeletePropagationForeground
	if err := h.serving.ServingV1().Services("default").Delete(t.Context(), "gone", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func(ctx context.Context) error {
		_, service := h.serving.ServingV1().Services("default").Get(ctx, "gone", metav1.GetOptions{})
		_, revision := h.serving.ServingV1().Revisions("default").Get(ctx, "gone-00001", metav1.GetOptions{})
		_, deployment := h.kube.AppsV1().Deployments("default").Get(ctx, "gone-00001-deployment", metav1.GetOptions{})
		_, core := h.kube.CoreV1().Services("default").Get(ctx, "gone", metav1.GetOptions{})
		for _, err := range []error{service, revision, deployment, core} {
			if !apierrs.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
		}
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: serving.RevisionLabelKey + "=gone-00001"})
		if err != nil || len(pods.Items) > 0 {
			return fmt.Errorf("%d pods, %w", len(pods.Items), err)
		}
		if status, _, err := h.get(ctx, host("gone"), "/"); err != nil || status != http.StatusNotFound {
			return fmt.Errorf("the gateway answers %d, %w", status, err)
		}
		return nil
	})
}

// testSettings gives one service a domain of its own by its label.
func testSettings(t *testing.T, h *house) {
	h.ready(t, h.service("named", "x", func(s *v1.Service) { s.Labels = map[string]string{"team": "blue"} }))
	eventually(t, "config-domain is changed", func(ctx context.Context) error {
		m, err := h.kube.CoreV1().ConfigMaps("knative-serving").Get(ctx, "config-domain", metav1.GetOptions{})
		if err != nil {
			return err
		}
		m.Data = map[string]string{"localhost": "", "blue.example.com": "selector:\n  team: blue\n"}
		_, err = h.kube.CoreV1().ConfigMaps("knative-serving").Update(ctx, m, metav1.UpdateOptions{})
		return err
	})
	eventually(t, "the URL follows", func(ctx context.Context) error {
		s, err := h.serving.ServingV1().Services("default").Get(ctx, "named", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s.Status.URL == nil || s.Status.URL.Host != "named.default.blue.example.com" || !s.IsReady() {
			return fmt.Errorf("URL %v", s.Status.URL)
		}
		return nil
	})
	h.expect(t, "named.default.blue.example.com", "/", "x named-00001")
}

func testRollout(t *testing.T, h *house) {
	h.ready(t, h.service("slow", "one", func(s *v1.Service) { s.Annotations = map[string]string{serving.RolloutDurationKey: "10s"} }))
	h.update(t, "slow", func(s *v1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	eventually(t, "the rollout is in progress", func(ctx context.Context) error {
		route, err := h.serving.ServingV1().Routes("default").Get(ctx, "slow", metav1.GetOptions{})
		if err != nil {
			return err
		}
		c := route.Status.GetCondition(v1.RouteConditionIngressReady)
		if c == nil || c.Reason != "RolloutInProgress" || len(route.Status.Traffic) != 2 {
			return fmt.Errorf("%+v, traffic %+v", c, route.Status.Traffic)
		}
		return nil
	})
	eventually(t, "all traffic has moved", func(ctx context.Context) error {
		route, err := h.serving.ServingV1().Routes("default").Get(ctx, "slow", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !route.IsReady() || len(route.Status.Traffic) != 1 || route.Status.Traffic[0].RevisionName != "slow-00002" {
			return fmt.Errorf("traffic %+v", route.Status.Traffic)
		}
		return nil
	})
}

func testCollect(t *testing.T, h *house) {
	h.ready(t, h.service("many", "0"))
	eventually(t, "config-gc is changed", func(ctx context.Context) error {
		m, err := h.kube.CoreV1().ConfigMaps("knative-serving").Get(ctx, "config-gc", metav1.GetOptions{})
		if err != nil {
			return err
		}
		m.Data = map[string]string{
			"retain-since-create-time": "disabled", "retain-since-last-active-time": "disabled",
			"min-non-active-revisions": "0", "max-non-active-revisions": "1",
		}
		_, err = h.kube.CoreV1().ConfigMaps("knative-serving").Update(ctx, m, metav1.UpdateOptions{})
		return err
	})
	for i := 2; i <= 4; i++ {
		h.update(t, "many", func(s *v1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = fmt.Sprint(i) })
		h.waitReady(t, "many", fmt.Sprintf("many-%05d", i))
	}
	eventually(t, "one old revision remains", func(ctx context.Context) error {
		list, err := h.serving.ServingV1().Revisions("default").List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=many"})
		if err != nil {
			return err
		}
		if len(list.Items) != 2 {
			return fmt.Errorf("%d revisions", len(list.Items))
		}
		return nil
	})
	for _, name := range []string{"many-00003", "many-00004"} {
		if _, err := h.serving.ServingV1().Revisions("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// testRevisionDeleted deletes the revision that has all traffic: its configuration makes it anew, and that one answers, also while a request
// to the one before is not finished.
func testRevisionDeleted(t *testing.T, h *house) {
	h.ready(t, h.service("again", "back"))
	revisions := h.serving.ServingV1().Revisions("default")
	first, err := revisions.Get(t.Context(), "again-00001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	asking, stop := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	slow.Go(func() { h.get(asking, host("again"), "/sleep?for=1h") }) //nolint:errcheck // it is cut off
	defer slow.Wait()
	defer stop()
	eventually(t, "a slow request", func(context.Context) error {
		answer, err := http.Get("http://" + h.Addresses().Metrics + "/metrics")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		metrics, err := io.ReadAll(answer.Body)
		if err == nil && !strings.Contains(string(metrics), `inflight_requests{namespace="default",revision="again-00001",service="again"} 1`) {
			err = errors.New("none is in flight")
		}
		return err
	})
	if err := revisions.Delete(t.Context(), "again-00001", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another revision of the name", func(ctx context.Context) error {
		rev, err := revisions.Get(ctx, "again-00001", metav1.GetOptions{})
		if err == nil && (rev.UID == first.UID || !rev.IsReady()) {
			err = fmt.Errorf("uid %s, conditions %+v", rev.UID, rev.Status.Conditions)
		}
		return err
	})
	h.expect(t, host("again"), "/", "back again-00001")
}

// TestAdoption restarts the daemon: the instance goes on running and is taken over.
func TestAdoption(t *testing.T) {
	home := t.TempDir()
	first := newHouseIn(t, home, keepInstances)
	first.ready(t, first.service("stay", "same", annotated("autoscaling.knative.dev/min-scale", "1")))
	before := first.pod(t, "stay-00001", "")
	first.Stop(t)
	second := newHouseIn(t, home)
	second.expect(t, host("stay"), "/", "same stay-00001")
	after := second.pod(t, "stay-00001", "")
	if after.Name != before.Name || after.UID != before.UID {
		t.Errorf("pod %s after the restart, %s before", after.Name, before.Name)
	}
	if n := after.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("restarted %d times", n)
	}
}

func keepInstances(s *daemon.Settings) { s.KeepInstances = true }

// TestRestartIsNotTold restarts the daemon: a revision that was ready stays so in the API, although its instance is a new one.
func TestRestartIsNotTold(t *testing.T) {
	home := t.TempDir()
	first := newHouseIn(t, home)
	first.ready(t, first.service("calm", "same"))
	since := func(h *house) metav1.Time {
		rev, err := h.serving.ServingV1().Revisions("default").Get(t.Context(), "calm-00001", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !rev.IsReady() {
			t.Errorf("conditions %+v", rev.Status.Conditions)
		}
		return rev.Status.GetCondition(v1.RevisionConditionResourcesAvailable).LastTransitionTime.Inner
	}
	before := since(first)
	first.Stop(t)
	second := newHouseIn(t, home)
	second.expect(t, host("calm"), "/", "same calm-00001")
	eventually(t, "the new instance is told", func(ctx context.Context) error { return second.instances(ctx, "calm-00001", 1) })
	if after := since(second); !after.Equal(&before) {
		t.Errorf("the revision was not ready for a moment: since %v, was %v", after, before)
	}
}
