package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-dev/fairlead/internal/api"
)

const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
"spec":{"containers":[{"name":"c","image":%q}]}}}}`

func TestServerSideApply(t *testing.T) {
	w := begin(t, "", nil)
	deployments := w.client(t).AppsV1().Deployments("default")
	apply := func(manager, image string, force bool) (*appsv1.Deployment, error) {
		return deployments.Patch(t.Context(), "d", types.ApplyPatchType, fmt.Appendf(nil, deployment, image), metav1.PatchOptions{FieldManager: manager, Force: &force})
	}
	if _, err := apply("one", "a", false); err != nil {
		t.Fatal(err)
	}
	again, err := apply("one", "a", false)
	if err != nil || again.Generation != 1 {
		t.Errorf("the same once more: generation %d, %v", again.Generation, err)
	}
	_, err = apply("two", "b", false)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.template.spec.containers[name="c"].image`) {
		t.Errorf("another manager: %v, want a conflict about the image", err)
	}
	forced, err := apply("two", "b", true)
	if err != nil || forced.Spec.Template.Spec.Containers[0].Image != "b" || forced.Generation != 2 {
		t.Errorf("forced: %v", err)
	}
	merged, err := deployments.Patch(t.Context(), "d", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}`), metav1.PatchOptions{})
	if err != nil || len(merged.Spec.Template.Spec.Containers) != 2 {
		t.Errorf("strategic merge: %v, want both containers", err)
	}
	patched, err := deployments.Patch(t.Context(), "d", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/replicas","value":4}]`), metav1.PatchOptions{})
	if err != nil || *patched.Spec.Replicas != 4 {
		t.Errorf("JSON patch: %v", err)
	}
}

func TestDryRun(t *testing.T) {
	w := begin(t, "", withWidgets)
	maps := w.client(t).CoreV1().ConfigMaps("default")
	all := []string{metav1.DryRunAll}
	if _, err := maps.Create(t.Context(), newMap("a"), metav1.CreateOptions{DryRun: all}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry run: %v", err)
	}
	if _, err := widgetClient(t, w, "default").Create(t.Context(), widget("a"), metav1.CreateOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if left, err := widgetClient(t, w, "default").List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("widgets after a dry run: %v, %v", left, err)
	}
}

func TestStatusHasItsOwnDoor(t *testing.T) {
	w := begin(t, "", nil)
	deployments := w.client(t).AppsV1().Deployments("default")
	d := &appsv1.Deployment{}
	if err := json.Unmarshal(fmt.Appendf(nil, deployment, "a"), d); err != nil {
		t.Fatal(err)
	}
	d.Status.ReadyReplicas = 7
	made, err := deployments.Create(t.Context(), d, metav1.CreateOptions{})
	if err != nil || made.Status.ReadyReplicas != 0 || made.Generation != 1 {
		t.Fatalf("created with status %+v, %v", made.Status, err)
	}
	three := int32(3)
	made.Status.ReadyReplicas, made.Spec.Replicas = 2, &three
	updated, err := deployments.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	if err != nil || updated.Status.ReadyReplicas != 2 || *updated.Spec.Replicas != 1 || updated.Generation != 1 {
		t.Errorf("status: %+v replicas %d, %v", updated.Status, *updated.Spec.Replicas, err)
	}
}

func TestWatch(t *testing.T) {
	w := begin(t, "", withWidgets)
	client := w.client(t)
	seconds := int64(20)
	watching, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=a", AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
		SendInitialEvents: new(bool)})
	if err == nil {
		watching.Stop()
		t.Error("sendInitialEvents without resourceVersionMatch was taken")
	}
	yes := true
	watching, err = client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{AllowWatchBookmarks: true, SendInitialEvents: &yes,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, FieldSelector: "metadata.name=a"})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	next := func() watch.Event {
		select {
		case e := <-watching.ResultChan():
			return e
		case <-time.After(time.Minute):
			t.Fatal("nothing came")
			return watch.Event{}
		}
	}
	if e := next(); e.Type != watch.Bookmark {
		t.Errorf("first %v %v, want the bookmark that ends the initial events", e.Type, e.Object)
	}
	for _, name := range []string{"b", "a"} {
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), newMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		e := next()
		m, ok := e.Object.(*corev1.ConfigMap)
		if e.Type != want || !ok || m.Name != "a" {
			t.Errorf("got %v of %v, want %v of a", e.Type, e.Object, want)
		}
	}
}

// TestFirstWatchIsAnswered holds that the first client of a kind that was just defined is served, and not told to come back
// after a second as upstream does while a watch cache fills.
func TestFirstWatchIsAnswered(t *testing.T) {
	w := begin(t, "", func(c *api.Config) { c.Definitions = []*apiextensionsv1.CustomResourceDefinition{widgets()} })
	config := w.admin(t)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(config.Host + "/apis/example.com/v1/widgets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("got %s with Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
	}
}

func TestFieldSelectors(t *testing.T) {
	w := begin(t, "", nil)
	pods := w.client(t).CoreV1().Pods("default")
	for _, name := range []string{"waits", "runs"} {
		if _, err := pods.Create(t.Context(), simplePod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pods.Patch(t.Context(), "runs", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string][]string{"status.phase!=Pending": {"runs"}, "status.phase=Pending": {"waits"}, "spec.nodeName=": {"runs", "waits"}, "metadata.name=waits": {"waits"}} {
		list, err := pods.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range list.Items {
			got = append(got, p.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", selector, got, want)
		}
	}
	if _, err := pods.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.colour=red"}); !apierrors.IsBadRequest(err) {
		t.Errorf("unknown field: %v", err)
	}
}

func TestDefinitionOfAnybody(t *testing.T) {
	w := begin(t, "", nil)
	client, err := apiextensionsclient.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	d := widgets()
	d.Spec.Versions[0].Subresources.Scale = &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.size", StatusReplicasPath: ".status.size"}
	if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	objects := widgetClient(t, w, "default")
	eventually(t, "the definition is served", func(ctx context.Context) (bool, error) {
		_, err := objects.List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	made, err := objects.Create(t.Context(), widget("a"), metav1.CreateOptions{})
	if err != nil || made.GetGeneration() != 1 {
		t.Fatal(err)
	}
	bad := widget("b")
	bad.Object["spec"] = map[string]any{"size": int64(-1)}
	if _, err := objects.Create(t.Context(), bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.size") {
		t.Errorf("against the schema: %v", err)
	}
	scaled, err := objects.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale")
	if err != nil || scaled.GetKind() != "Scale" {
		t.Errorf("scale: %v, %v", scaled, err)
	}
	if _, err := objects.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"status":{"ok":true},"spec":{"size":9}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	got, err := objects.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || fmt.Sprint(got.Object["spec"]) != "map[size:4]" || fmt.Sprint(got.Object["status"]) != "map[ok:true]" {
		t.Errorf("after scale and status: %v, %v", got.Object, err)
	}
	if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(t, "definition", func(ctx context.Context) error {
		_, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, d.Name, metav1.GetOptions{})
		return err
	})
}

func TestDiscoveryIsWholeWhenReady(t *testing.T) {
	w := begin(t, "", withWidgets)
	discovery := w.client(t).Discovery()
	groups, err := discovery.ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range groups.Groups {
		names = append(names, g.Name)
	}
	for _, want := range []string{"", "apps", "example.com", "apiextensions.k8s.io", "rbac.authorization.k8s.io"} {
		if !slices.Contains(names, want) {
			t.Errorf("discovery has %v, not %q", names, want)
		}
	}
	old := &metav1.APIGroupList{}
	data, err := discovery.RESTClient().Get().AbsPath("/apis").SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil || json.Unmarshal(data, old) != nil || !slices.ContainsFunc(old.Groups, func(g metav1.APIGroup) bool { return g.Name == "example.com" }) {
		t.Errorf("the old form: %s, %v", data, err)
	}
	document, err := discovery.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, d := range document.GetDefinitions().GetAdditionalProperties() {
		found = append(found, d.GetName())
	}
	for _, want := range []string{"io.k8s.api.core.v1.Pod", "com.example.v1.Widget", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"} {
		if !slices.Contains(found, want) {
			t.Errorf("OpenAPI v2 lacks %s among %d", want, len(found))
		}
	}
	paths, err := discovery.OpenAPIV3().Paths()
	if err != nil || paths["apis/example.com/v1"] == nil || paths["api/v1"] == nil || paths["apis/apiextensions.k8s.io/v1"] == nil {
		t.Errorf("OpenAPI v3 paths: %v", err)
	}
}

func TestLimits(t *testing.T) {
	w := begin(t, "", withWidgets)
	post := func(path, contentType, body string) *metav1.Status {
		err := w.client(t).CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", contentType).Body([]byte(body)).Do(t.Context()).Error()
		if status, ok := err.(apierrors.APIStatus); ok {
			s := status.Status()
			return &s
		}
		t.Errorf("%s: %v, want a status", path, err)
		return &metav1.Status{}
	}
	const maps, widgets = "/api/v1/namespaces/default/configmaps", "/apis/example.com/v1/namespaces/default/widgets"
	big := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"` + strings.Repeat("x", 4<<20) + `"}}`
	if s := post(maps, "application/json", big); s.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("4 MB: %+v", s)
	}
	deep := `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"deep"},"spec":{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`
	if s := post(widgets, "application/json", deep); s.Code != http.StatusBadRequest {
		t.Errorf("deep JSON: %d %s", s.Code, s.Message)
	}
	bomb := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	if s := post(maps, "application/yaml", bomb); s.Code < 400 || s.Code >= 500 {
		t.Errorf("YAML bomb: %d %s", s.Code, s.Message)
	}
	if s := post(maps, "application/json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"UPPER"}}`); s.Code != http.StatusUnprocessableEntity {
		t.Errorf("bad name: %+v", s)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	w := begin(t, "", withWidgets)
	made, err := widgetClient(t, w, "default").Create(t.Context(), widget("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url, account := w.URL(), token(t, w, tokenSpec())
	w.stop()
	w = begin(t, w.home, func(c *api.Config) { withWidgets(c); c.Listen = strings.TrimPrefix(url, "https://") })
	got, err := widgetClient(t, w, "default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || got.GetUID() != made.GetUID() || got.GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("after a restart: %v, %v", got, err)
	}
	if _, err := as(t, w, account).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the token from before: %v, want forbidden, not unauthorized", err)
	}
}

func TestNewerDefinitionReplacesTheStoredOne(t *testing.T) {
	w := begin(t, "", withWidgets)
	if _, err := widgetClient(t, w, "default").Create(t.Context(), widget("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w = begin(t, w.home, func(c *api.Config) {
		d := widgets()
		d.Spec.Versions[0].AdditionalPrinterColumns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Size", Type: "integer", JSONPath: ".spec.size"}}
		second := *d.Spec.Versions[0].DeepCopy()
		second.Name, second.Storage = "v2", false
		d.Spec.Versions = append(d.Spec.Versions, second)
		c.Definitions = []*apiextensionsv1.CustomResourceDefinition{d}
	})
	data, err := w.client(t).RESTClient().Get().AbsPath("/apis/example.com/v2/namespaces/default/widgets/a").SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(data), `"name":"Size"`) {
		t.Errorf("%s, %v", data, err)
	}
}

// What the process itself writes has no managed fields, and leaves those of others as they are.
func TestOwnWritesAreNotManaged(t *testing.T) {
	w := begin(t, "", nil)
	own, err := kubernetes.NewForConfig(w.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	configMap := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
	}
	ours, err := own.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("ours"), metav1.CreateOptions{})
	if err != nil || len(ours.ManagedFields) != 0 {
		t.Fatalf("ours: %v, %v; want no managed fields", ours.ManagedFields, err)
	}
	theirs, err := w.client(t).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("theirs"), metav1.CreateOptions{FieldManager: "them"})
	if err != nil || len(theirs.ManagedFields) != 1 {
		t.Fatalf("theirs: %v, %v; want one entry", theirs.ManagedFields, err)
	}
	theirs.Data["a"] = "c"
	written, err := own.CoreV1().ConfigMaps("default").Update(t.Context(), theirs, metav1.UpdateOptions{})
	if err != nil || len(written.ManagedFields) != 1 || written.ManagedFields[0].Manager != "them" || !written.ManagedFields[0].Time.Equal(theirs.ManagedFields[0].Time) {
		t.Errorf("theirs, written by us: %v, %v; want their entry as it was", written.ManagedFields, err)
	}
	apply := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"ours"},"data":{"x":"y"}}`)
	applied, err := w.client(t).CoreV1().ConfigMaps("default").Patch(t.Context(), "ours", types.ApplyPatchType, apply, metav1.PatchOptions{FieldManager: "them"})
	if err != nil || applied.Data["a"] != "b" || applied.Data["x"] != "y" || len(applied.ManagedFields) == 0 {
		t.Errorf("ours, applied to: %v, %v; want both keys, managed from now on", applied, err)
	}
}
