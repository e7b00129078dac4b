package controller_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/reconciler/revision/resources/names"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// TestWritesPerService counts what Fairlead itself writes to the API for a service until it is Ready: that is most of what defining a
// service costs, so it may not grow unseen.
func TestWritesPerService(t *testing.T) {
	const services = 8
	audit := filepath.Join(t.TempDir(), "audit.log")
	h := newHouse(t, func(s *daemon.Settings) { s.AuditLog = audit })
	zero := []byte(`{"data":{"allow-zero-initial-scale":"true"}}`)
	if _, err := h.kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-autoscaler", types.MergePatchType, zero, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	unproved := annotated(autoscaling.InitialScaleAnnotationKey, "0")
	eventually(t, "an initial scale of 0 is allowed", func(ctx context.Context) error {
		_, err := h.serving.ServingV1().Services("default").Create(ctx, h.service("asked", "", unproved), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	told := h.routesTold(t)
	begun := time.Now()
	for i := range services {
		h.ready(t, h.service("counted-"+string(rune('a'+i)), "", unproved))
	}
	// A status is written when it says something, and every 0.2 s until then.
	status := 1 + time.Since(begun).Seconds()/0.2/services
	most := map[string]float64{
		"create configurations": 1, "create routes": 1, "create revisions": 1, "create ingresses": 1, "update ingresses/status": 1,
		"patch configurations": 0, "patch revisions": 0,
		"update services/status": status, "update configurations/status": status, "update routes/status": status, "update revisions/status": status,
	}
	for _, view := range []string{"deployments", "podautoscalers", "serverlessservices", "services", "endpoints", "endpointslices"} {
		most["create "+view] = 0 // nobody has asked for them
	}
	most["create services"] = 1 // the name of the route
	for what, n := range writesUnder(t, audit, "counted-") {
		if limit, known := most[what]; known && float64(n) > limit*services {
			t.Errorf("%s: %d for %d services, at most %.1f each expected", what, n, services, limit)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(told(), "\n"))
	}
}

// routesTold follows the routes, and gives what each change of one said.
func (h *house) routesTold(t *testing.T) func() []string {
	t.Helper()
	changes, err := h.serving.ServingV1().Routes("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func() (said []string) {
		for {
			select {
			case e := <-changes.ResultChan():
				route, ok := e.Object.(*v1.Route)
				if !ok {
					return said
				}
				said = append(said, fmt.Sprintf("%s %s at %s, generation %d of %d observed:", e.Type, route.Name, route.ResourceVersion, route.Status.ObservedGeneration, route.Generation))
				for _, c := range route.Status.Conditions {
					said = append(said, fmt.Sprintf("\t%s %s %s %s", c.Type, c.Status, c.Reason, c.Message))
				}
			case <-time.After(time.Second):
				changes.Stop()
				return said
			}
		}
	}
}

// TestViewsAreWrittenForWhoAsks holds that views are there for whoever looks, at the first look, and follow what they show from then on.
func TestViewsAreWrittenForWhoAsks(t *testing.T) {
	h := newHouse(t)
	h.ready(t, h.service("viewed", "hello"))
	const rev, long = "viewed-00001", "a-name-so-long-that-those-of-its-views-are-made-shorter"
	h.ready(t, h.service(long, "hello"))
	deployment, err := h.kube.AppsV1().Deployments("default").Get(t.Context(), rev+"-deployment", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(deployment.Status.Conditions) == 0 || deployment.Status.ObservedGeneration != deployment.Generation || *deployment.Spec.Replicas != 1 {
		t.Errorf("deployment at the first look: %d replicas, %+v", *deployment.Spec.Replicas, deployment.Status)
	}
	hashed := names.Deployment(&v1.Revision{ObjectMeta: metav1.ObjectMeta{Name: long + "-00001"}})
	if _, err := h.kube.AppsV1().Deployments("default").Get(t.Context(), hashed, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := h.kube.CoreV1().Endpoints("default").Get(t.Context(), rev+"-private", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	pa, err := h.serving.AutoscalingV1alpha1().PodAutoscalers("default").Get(t.Context(), rev, metav1.GetOptions{})
	if err != nil || len(pa.Status.Conditions) == 0 {
		t.Errorf("podautoscaler at the first look: %+v, %v", pa.Status, err)
	}
	slices, err := h.kube.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + long})
	if err != nil || len(slices.Items) != 2 {
		t.Errorf("%d slices of the other service at the first look, %v", len(slices.Items), err)
	}
	changes, err := h.kube.AppsV1().Deployments("default").Watch(t.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + deployment.Name, ResourceVersion: deployment.ResourceVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	soon := []byte(`{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s"}}`) // only now: however slow this machine is, it was there at the first look
	if _, err := h.kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-autoscaler", types.MergePatchType, soon, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	end := time.After(bound)
	for {
		select {
		case e := <-changes.ResultChan():
			if d, ok := e.Object.(*appsv1.Deployment); ok && *d.Spec.Replicas == 0 {
				return
			}
		case <-end:
			t.Fatal("a watch does not tell of the scale to zero")
		}
	}
}

// writesUnder counts what Fairlead itself wrote to objects whose name has a prefix, by verb and resource.
func writesUnder(t *testing.T, audit, prefix string) map[string]int {
	t.Helper()
	file, err := os.Open(audit)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // read only
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		if e.User.Username != "system:apiserver" || e.Stage != auditv1.StageResponseComplete || e.ObjectRef == nil || !strings.HasPrefix(e.ObjectRef.Name, prefix) {
			continue
		}
		if e.ResponseStatus == nil || e.ResponseStatus.Code >= 300 {
			continue // refused: the informer was behind
		}
		switch e.Verb {
		case "create", "update", "patch", "delete":
			what := e.Verb + " " + e.ObjectRef.Resource
			if e.ObjectRef.Subresource != "" {
				what += "/" + e.ObjectRef.Subresource
			}
			counts[what]++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return counts
}
