package admission

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/internal/knative"
)

var serviceKind = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}

const service = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: default}
spec:
  template:
    spec:
      containers:
      - image: example.com/hello
`

type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

func newPlugin(t *testing.T) *Plugin {
	t.Helper()
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func object(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	var out unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(manifest), &out.Object); err != nil {
		t.Fatal(err)
	}
	return &out
}

func write(ctx context.Context, p *Plugin, kind schema.GroupVersionKind, object, old runtime.Object, subresource string) error {
	return writeAs(ctx, "ada", p, kind, object, old, subresource)
}

func writeAs(ctx context.Context, writer string, p *Plugin, kind schema.GroupVersionKind, object, old runtime.Object, subresource string) error {
	op := admission.Update
	if old == nil {
		op = admission.Create
	}
	a := admission.NewAttributesRecord(object, old, kind, "default", "hello", schema.GroupVersionResource{Group: kind.Group, Version: kind.Version},
		subresource, op, nil, false, &user.DefaultInfo{Name: writer})
	if err := p.Admit(ctx, a, nil); err != nil {
		return err
	}
	return p.Validate(ctx, a, nil)
}

func TestDefaultsAreGivenInPlace(t *testing.T) {
	o := object(t, service)
	if err := write(t.Context(), newPlugin(t), serviceKind, o, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := o.GetAnnotations()["serving.knative.dev/creator"]; got != "ada" {
		t.Errorf("creator = %q", got)
	}
	timeout, _, err := unstructured.NestedInt64(o.Object, "spec", "template", "spec", "timeoutSeconds")
	if err != nil || timeout != 300 {
		t.Errorf("timeoutSeconds = %d, %v: numbers must stay whole numbers", timeout, err)
	}
}

func TestRefusal(t *testing.T) {
	o := object(t, strings.Replace(service, "- image: example.com/hello", "- {image: example.com/hello, tty: true}", 1))
	err := write(t.Context(), newPlugin(t), serviceKind, o, nil, "")
	const want = `admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: must not set the field(s): spec.template.spec.containers[0].tty`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant %s", err, want)
	}
}

func TestAdviceBecomesWarnings(t *testing.T) {
	var got warnings
	ctx := warning.WithWarningRecorder(t.Context(), &got)
	o := object(t, strings.Replace(service, "- image: example.com/hello", "- {image: example.com/hello, securityContext: {allowPrivilegeEscalation: true}}", 1))
	if err := write(ctx, newPlugin(t), serviceKind, o, nil, ""); err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Error("no warning about allowPrivilegeEscalation")
	}
}

func TestStatusAndOtherKinds(t *testing.T) {
	p := newPlugin(t)
	stored := object(t, service)
	if err := write(t.Context(), p, serviceKind, stored, nil, ""); err != nil {
		t.Fatal(err)
	}
	status := stored.DeepCopy()
	status.Object["status"] = map[string]any{"observedGeneration": int64(1)}
	if err := write(t.Context(), p, serviceKind, status, stored, "status"); err != nil {
		t.Errorf("status update: %v", err)
	}
	other := object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}, spec: {anything: true}}`)
	before := other.DeepCopy()
	if err := write(t.Context(), p, other.GroupVersionKind(), other, nil, ""); err != nil {
		t.Errorf("a foreign kind: %v", err)
	}
	if len(other.Object) != len(before.Object) || other.GetAnnotations() != nil {
		t.Errorf("a foreign kind was changed: %v", other.Object)
	}
}

// TestOwnStatusIsLeftAlone holds that a status is looked at unless this process writes it, and everything else in any case.
func TestOwnStatusIsLeftAlone(t *testing.T) {
	bad := object(t, strings.Replace(service, "spec:\n", "status: {observedGeneration: one}\nspec:\n", 1))
	stored := object(t, service)
	for writer, refused := range map[string]bool{"ada": true, user.APIServerUser: false} {
		if err := writeAs(t.Context(), writer, newPlugin(t), serviceKind, bad.DeepCopy(), stored, "status"); (err != nil) != refused {
			t.Errorf("a status of the wrong form by %s: %v", writer, err)
		}
	}
	tty := object(t, strings.Replace(service, "- image: example.com/hello", "- {image: example.com/hello, tty: true}", 1))
	if err := writeAs(t.Context(), user.APIServerUser, newPlugin(t), serviceKind, tty, nil, ""); err == nil {
		t.Error("this process may write a service that nobody else may")
	}
}

func TestConfigMaps(t *testing.T) {
	kind := corev1.SchemeGroupVersion.WithKind("ConfigMap")
	meta := metav1.ObjectMeta{Namespace: knative.ServingNamespace, Name: "config-gc"}
	bad := map[string]string{"min-non-active-revisions": "-3"}
	const want = `admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: min-non-active-revisions must be non-negative, was: -3`
	typed := &corev1.ConfigMap{ObjectMeta: meta, Data: bad}
	loose := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: config-gc, namespace: knative-serving}, data: {min-non-active-revisions: "-3"}}`)
	for _, o := range []runtime.Object{typed, loose} {
		if err := write(t.Context(), newPlugin(t), kind, o, nil, ""); err == nil || err.Error() != want {
			t.Errorf("%T: error = %v\nwant %s", o, err, want)
		}
	}
	typed.Namespace = "default"
	if err := write(t.Context(), newPlugin(t), kind, typed, nil, ""); err != nil {
		t.Errorf("a ConfigMap of the user's: %v", err)
	}
}

// TestRunFollowsTheConfigMaps changes and deletes a setting and waits until a write is treated accordingly.
func TestRunFollowsTheConfigMaps(t *testing.T) {
	p := newPlugin(t)
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: knative.ServingNamespace, Name: "config-defaults"},
		Data:       map[string]string{"revision-timeout-seconds": "7"},
	}
	client := fake.NewClientset(cm)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, client, func() { close(ready) }) }()
	<-ready
	waitForTimeout(t, p, 7)
	changed := cm.DeepCopy()
	changed.Data["revision-timeout-seconds"] = "9"
	if _, err := client.CoreV1().ConfigMaps(cm.Namespace).Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitForTimeout(t, p, 9)
	if err := client.CoreV1().ConfigMaps(cm.Namespace).Delete(ctx, cm.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitForTimeout(t, p, 300)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func waitForTimeout(t *testing.T, p *Plugin, want int64) {
	t.Helper()
	for {
		o := object(t, service)
		if err := write(t.Context(), p, serviceKind, o, nil, ""); err != nil {
			t.Fatal(err)
		}
		got, _, err := unstructured.NestedInt64(o.Object, "spec", "template", "spec", "timeoutSeconds")
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
	}
}
