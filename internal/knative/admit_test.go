package knative

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type reflectType = reflect.Type

var (
	serviceKind       = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}
	revisionKind      = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Revision"}
	configurationKind = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Configuration"}
	routeKind         = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Route"}
	brokerKind        = schema.GroupVersionKind{Group: "eventing.knative.dev", Version: "v1", Kind: "Broker"}
	triggerKind       = schema.GroupVersionKind{Group: "eventing.knative.dev", Version: "v1", Kind: "Trigger"}
)

const refused = `admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: `

func newAdmitter(t testing.TB) *Admitter {
	t.Helper()
	a, err := NewAdmitter(AdmitterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func create(kind schema.GroupVersionKind, object string) Request {
	r := Request{Operation: admissionv1.Create, Kind: kind, Object: []byte(object)}
	r.User.Username = "ada"
	return r
}

// update writes object over what an earlier write stored.
func update(kind schema.GroupVersionKind, stored []byte, object string) Request {
	r := create(kind, object)
	r.Operation, r.Old = admissionv1.Update, stored
	r.User.Username = "bob"
	return r
}

// admit defaults and validates, as a write through the API does, and gives what would be stored.
func admit(t testing.TB, a *Admitter, r Request) ([]byte, error) {
	t.Helper()
	out, err := a.Default(t.Context(), r)
	if err != nil {
		return nil, err
	}
	r.Object = out
	_, err = a.Validate(t.Context(), r)
	return out, err
}

func wantRefusal(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: refused: %v", what, err)
	case want != "" && err == nil:
		t.Errorf("%s: not refused, want %q", what, want)
	case want != "" && !strings.HasPrefix(err.Error(), want):
		t.Errorf("%s:\n got %q\nwant %q", what, err, want)
	case want != "" && !apierrors.IsBadRequest(err):
		t.Errorf("%s: %v is not a bad request", what, err)
	}
}

func at(object []byte, path ...string) any {
	var v any
	if err := json.Unmarshal(object, &v); err != nil {
		return err
	}
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func serviceWith(podSpec string) string {
	return fmt.Sprintf(`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","namespace":"default"},"spec":{"template":{"spec":%s}}}`, podSpec)
}

// TestRefusals holds the texts of upstream's validation that clients compare.
func TestRefusals(t *testing.T) {
	container := func(field string) string { return `{"containers":[{"image":"x",` + field + `}]}` }
	const in = "spec.template.spec."
	for name, tc := range map[string]struct{ spec, want string }{
		"plain":                    {`{"containers":[{"image":"x"}]}`, ""},
		"lifecycle":                {container(`"lifecycle":{"preStop":{"exec":{"command":["x"]}}}`), "must not set the field(s): " + in + "containers[0].lifecycle"},
		"hostPort":                 {container(`"ports":[{"containerPort":80,"hostPort":80}]`), "must not set the field(s): " + in + "containers[0].ports.hostPort"},
		"stdin":                    {container(`"stdin":true`), "must not set the field(s): " + in + "containers[0].stdin"},
		"stdinOnce":                {container(`"stdinOnce":true`), "must not set the field(s): " + in + "containers[0].stdinOnce"},
		"tty":                      {container(`"tty":true`), "must not set the field(s): " + in + "containers[0].tty"},
		"two ports":                {container(`"ports":[{"containerPort":80},{"containerPort":81}]`), "more than one container port is set: " + in + "containers[*].ports"},
		"mount propagation":        {`{"containers":[{"image":"x","volumeMounts":[{"name":"v","mountPath":"/v","mountPropagation":"HostToContainer"}]}],"volumes":[{"name":"v","emptyDir":{}}]}`, "Volume Mount Propagation support is disabled, but found volume mount v with mount propagation: \nmust not set the field(s): " + in + "containers[0].volumeMounts[0].mountPropagation"},
		"runAsUser":                {container(`"securityContext":{"runAsUser":-10}`), "expected 0 <= -10 <= 2147483647: " + in + "containers[0].securityContext.runAsUser"},
		"service account":          {`{"serviceAccountName":"@foo","containers":[{"image":"x"}]}`, "invalid value: @foo: " + in + "serviceAccountName"},
		"no image":                 {`{"containers":[{"name":"a"}]}`, "missing field(s): " + in + "containers[0].image"},
		"no containers":            {`{"containers":[]}`, "missing field(s): " + in + "containers"},
		"host network":             {`{"hostNetwork":true,"containers":[{"image":"x"}]}`, "must not set the field(s): " + in + "hostNetwork"},
		"restart policy":           {`{"restartPolicy":"Never","containers":[{"image":"x"}]}`, "must not set the field(s): " + in + "restartPolicy"},
		"container concurrency":    {`{"containerConcurrency":-1,"containers":[{"image":"x"}]}`, "expected 0 <= -1 <= 1000: " + in + "containerConcurrency"},
		"timeout":                  {`{"timeoutSeconds":601,"containers":[{"image":"x"}]}`, "expected 0 <= 601 <= 600: " + in + "timeoutSeconds"},
		"two containers, no port":  {`{"containers":[{"image":"x","name":"a"},{"image":"y","name":"b"}]}`, "missing field(s): " + in + "containers[*].ports"},
		"unknown volume":           {`{"containers":[{"image":"x","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}`, "volumeMount has no matching volume: " + in + "containers[0].volumeMounts[0].name"},
		"reserved port":            {container(`"ports":[{"containerPort":8012}]`), "invalid value: 8012 is a reserved port: " + in + "containers[0].ports.containerPort"},
		"reserved variable":        {container(`"env":[{"name":"K_SERVICE","value":"x"}]`), `"K_SERVICE" is a reserved environment variable: ` + in + "containers[0].env[0].name"},
		"host path":                {`{"containers":[{"image":"x","volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","hostPath":{"path":"/"}}]}`, "HostPath volume support is disabled, but found HostPath volume v: \nmust not set the field(s): " + in + "volumes[0].hostPath"},
		"init containers":          {`{"containers":[{"image":"x"}],"initContainers":[{"image":"y"}]}`, "must not set the field(s): " + in + "initContainers"},
		"persistent volume claims": {`{"containers":[{"image":"x","volumeMounts":[{"name":"v","mountPath":"/v","readOnly":true}]}],"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c","readOnly":true}}]}`, "Persistent volume claim support is disabled, but found persistent volume claim c: \nmust not set the field(s): " + in + "volumes[0].persistentVolumeClaim"},
	} {
		_, err := admit(t, newAdmitter(t), create(serviceKind, serviceWith(tc.spec)))
		want := tc.want
		if want != "" {
			want = refused + want
		}
		wantRefusal(t, name, err, want)
	}
}

func TestUndecodableIsRefused(t *testing.T) {
	_, err := newAdmitter(t).Default(t.Context(), create(serviceKind, serviceWith(`{"containers":"x"}`)))
	wantRefusal(t, "containers is a string", err, `admission webhook "webhook.serving.knative.dev" denied the request: mutation failed: cannot decode incoming new object: json: `)
	_, err = newAdmitter(t).Default(t.Context(), create(brokerKind, `{"spec":{"nonsense":1}}`))
	wantRefusal(t, "unknown field in Eventing", err, `admission webhook "webhook.eventing.knative.dev" denied the request: mutation failed: cannot decode incoming new object: json: unknown field "nonsense"`)
	_, err = newAdmitter(t).Default(t.Context(), Request{Operation: admissionv1.Create, Kind: serviceKind})
	wantRefusal(t, "no object", err, `admission webhook "webhook.serving.knative.dev" denied the request: mutation failed: the new object may not be nil`)
}

func TestDefaults(t *testing.T) {
	out, err := admit(t, newAdmitter(t), create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if got := at(out, "metadata", "annotations"); !reflect.DeepEqual(got, map[string]any{"serving.knative.dev/creator": "ada", "serving.knative.dev/lastModifier": "ada"}) {
		t.Errorf("annotations = %v", got)
	}
	spec := []string{"spec", "template", "spec"}
	if got := at(out, append(spec, "containerConcurrency")...); got != 0.0 {
		t.Errorf("containerConcurrency = %v", got)
	}
	if got := at(out, append(spec, "enableServiceLinks")...); got != false {
		t.Errorf("enableServiceLinks = %v", got)
	}
	containers, _ := at(out, append(spec, "containers")...).([]any)
	if name := containers[0].(map[string]any)["name"]; name != "user-container" {
		t.Errorf("container name = %v", name)
	}
	traffic, _ := at(out, "spec", "traffic").([]any)
	if len(traffic) != 1 || traffic[0].(map[string]any)["percent"] != 100.0 || traffic[0].(map[string]any)["latestRevision"] != true {
		t.Errorf("traffic = %v", traffic)
	}
}

func TestLastModifier(t *testing.T) {
	a := newAdmitter(t)
	stored, err := admit(t, a, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	same, err := admit(t, a, update(serviceKind, stored, string(stored)))
	if err != nil {
		t.Fatal(err)
	}
	if got := at(same, "metadata", "annotations", "serving.knative.dev/lastModifier"); got != "ada" {
		t.Errorf("after a write that changes nothing lastModifier = %v", got)
	}
	changed, err := admit(t, a, update(serviceKind, stored, strings.Replace(string(stored), `"image":"x"`, `"image":"y"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := at(changed, "metadata", "annotations", "serving.knative.dev/lastModifier"); got != "bob" {
		t.Errorf("after a change of the spec lastModifier = %v", got)
	}
	_, err = admit(t, a, update(serviceKind, stored, strings.Replace(string(stored), `"serving.knative.dev/creator":"ada"`, `"serving.knative.dev/creator":"eve"`, 1)))
	wantRefusal(t, "another creator", err, refused+"annotation value is immutable: metadata.annotations.serving.knative.dev/creator")
}

func TestRevisionsAreImmutable(t *testing.T) {
	a := newAdmitter(t)
	const revision = `{"apiVersion":"serving.knative.dev/v1","kind":"Revision","metadata":{"name":"hello-00001","namespace":"default"},"spec":{"containers":[{"image":"%s"}]}}`
	stored, err := admit(t, a, create(revisionKind, fmt.Sprintf(revision, "x")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = admit(t, a, update(revisionKind, stored, fmt.Sprintf(revision, "y")))
	wantRefusal(t, "another image", err, refused+"Immutable fields changed (-old +new): spec")
	labelled := strings.Replace(string(stored), `"name":"hello-00001"`, `"name":"hello-00001","labels":{"a":"b"}`, 1)
	_, err = admit(t, a, update(revisionKind, stored, labelled))
	wantRefusal(t, "a label", err, "")
	request := update(revisionKind, stored, string(stored))
	request.Subresource = "status"
	_, err = admit(t, a, request)
	wantRefusal(t, "status", err, "")
}

// TestStatusWithoutTimes writes a condition without a time, whose Go type makes null of what is missing.
func TestStatusWithoutTimes(t *testing.T) {
	a := newAdmitter(t)
	stored, err := admit(t, a, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	r := update(serviceKind, stored, strings.Replace(string(stored), `"spec":`, `"status":{"conditions":[{"type":"Ready","status":"True"}]},"spec":`, 1))
	r.Subresource = "status"
	out, err := admit(t, a, r)
	if err != nil || strings.Contains(string(out), "null") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRevisionNames is "bring your own revision name".
func TestRevisionNames(t *testing.T) {
	a := newAdmitter(t)
	const named = `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","namespace":"default"},"spec":{"template":{"metadata":{"name":"%s"},"spec":{"containers":[{"image":"%s"}]}}}}`
	stored, err := admit(t, a, create(serviceKind, fmt.Sprintf(named, "hello-one", "x")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = admit(t, a, update(serviceKind, stored, fmt.Sprintf(named, "hello-one", "y")))
	wantRefusal(t, "same name, other spec", err, refused+"Saw the following changes without a name change (-old +new): spec.template.metadata.name")
	_, err = admit(t, a, create(serviceKind, fmt.Sprintf(named, "other", "x")))
	wantRefusal(t, "no prefix", err, refused+`invalid value: "other" must have prefix "hello-": spec.template.metadata.name`)
}

// TestWarnings holds that advice about security warns and never refuses.
func TestWarnings(t *testing.T) {
	a := newAdmitter(t)
	r := create(serviceKind, serviceWith(`{"containers":[{"image":"x","securityContext":{"allowPrivilegeEscalation":true}}]}`))
	out, err := a.Default(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Object = out
	warnings, err := a.Validate(t.Context(), r)
	if err != nil || len(warnings) == 0 {
		t.Fatalf("warnings = %q, error = %v", warnings, err)
	}
	for _, w := range warnings {
		if strings.Contains(w, "\n") || !strings.Contains(w, "spec.template.spec.containers[0].securityContext") {
			t.Errorf("warning = %q", w)
		}
	}
}

func TestAutoscalingAnnotations(t *testing.T) {
	const annotated = `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","namespace":"default"},"spec":{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/%s":"%s"}},"spec":{"containers":[{"image":"x"}]}}}}`
	const in = ": spec.template.metadata.annotations."
	for _, tc := range []struct{ name, value, want string }{
		{"min-scale", "2", ""}, {"minScale", "2", ""}, {"target", "0.5", ""}, {"window", "6s", ""}, {"metric", "rps", ""},
		{"min-scale", "-1", "expected 0 <= -1 <= 2147483647" + in + "autoscaling.knative.dev/min-scale"},
		{"minScale", "-1", "expected 0 <= -1 <= 2147483647" + in + "autoscaling.knative.dev/minScale"},
		{"window", "1s", "expected 6s <= 1s <= 1h0m0s" + in + "autoscaling.knative.dev/window"},
		{"metric", "luck", "invalid value: luck" + in + "autoscaling.knative.dev/metric"},
		{"initial-scale", "0", "invalid value: 0" + in + "autoscaling.knative.dev/initial-scale"},
		{"target", "0", "target 0 should be at least 0.01" + in + "autoscaling.knative.dev/target"},
	} {
		_, err := admit(t, newAdmitter(t), create(serviceKind, fmt.Sprintf(annotated, tc.name, tc.value)))
		want := tc.want
		if want != "" {
			want = refused + want
		}
		wantRefusal(t, tc.name+"="+tc.value, err, want)
	}
}

func TestRoutes(t *testing.T) {
	const route = `{"apiVersion":"serving.knative.dev/v1","kind":"Route","metadata":{"name":"r","namespace":"default"},"spec":{"traffic":%s}}`
	for _, tc := range []struct{ traffic, want string }{
		{`[{"configurationName":"c","percent":100}]`, ""},
		{`[{"configurationName":"c","percent":99}]`, "Traffic targets sum to 99, want 100: spec.traffic"},
		{`[{"revisionName":"a","percent":50,"tag":"x"},{"revisionName":"b","percent":50,"tag":"x"}]`, "Multiple definitions for \"x\": spec.traffic[0].tag, spec.traffic[1].tag"},
		{`[{"percent":100}]`, "expected exactly one, got neither: spec.traffic[0].configurationName, spec.traffic[0].revisionName"},
	} {
		_, err := admit(t, newAdmitter(t), create(routeKind, fmt.Sprintf(route, tc.traffic)))
		want := tc.want
		if want != "" {
			want = refused + want
		}
		wantRefusal(t, tc.traffic, err, want)
	}
}
