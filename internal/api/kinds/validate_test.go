package kinds

import (
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/yaml"
)

func testScheme(t testing.TB) *Scheme {
	t.Helper()
	s, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checked decodes an object, gives it its defaults and says what is wrong with it.
func checked(t *testing.T, s *Scheme, kind, body string) string {
	t.Helper()
	for _, r := range table() {
		if r.gvk.Kind != kind {
			continue
		}
		object := r.newObject()
		if err := yaml.Unmarshal([]byte(body), object); err != nil {
			t.Fatal(err)
		}
		s.Default(object)
		accessor(object).SetName("a")
		if r.namespaced {
			accessor(object).SetNamespace("default")
		}
		strategy := strategy{ObjectTyper: s.Scheme, NameGenerator: names.SimpleNameGenerator, row: r}
		strategy.PrepareForCreate(t.Context(), object)
		return strategy.Validate(t.Context(), object).ToAggregate().Error()
	}
	t.Fatalf("no kind %s", kind)
	return ""
}

func TestRefused(t *testing.T) {
	s := testScheme(t)
	for _, test := range []struct{ kind, body, want string }{
		{"Service", `{spec: {}}`, "spec.ports: Required value"},
		{"Service", `{spec: {ports: [{port: 70000}]}}`, "spec.ports[0].port: Invalid value: 70000"},
		{"Service", `{spec: {type: ExternalName}}`, "spec.externalName: Required value"},
		{"Service", `{spec: {ports: [{port: 1}, {port: 2}]}}`, "spec.ports[0].name: Required value"},
		{"ConfigMap", `{data: {"a b": c}}`, `data[a b]: Invalid value: "a b"`},
		{"Secret", `{type: kubernetes.io/tls}`, "data[tls.crt]: Required value"},
		{"Pod", `{spec: {}}`, "spec.containers: Required value"},
		{"Pod", `{spec: {containers: [{name: A, image: i}]}}`, `spec.containers[0].name: Invalid value: "A"`},
		{"Pod", `{spec: {containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}}`, `spec.containers[0].volumeMounts[0].name: Not found: "v"`},
		{"Pod", `{spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}}`, "must be less than or equal to cpu limit of 1"},
		{"Deployment", `{spec: {selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: a, image: i}]}}}}`, "`selector` does not match template `labels`"},
		{"Deployment", `{spec: {replicas: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: i}]}}}}`, "spec.replicas: Invalid value: -1"},
		{"Job", `{spec: {template: {spec: {containers: [{name: a, image: i}]}}}}`, `spec.template.spec.restartPolicy: Unsupported value: "Always"`},
		{"PersistentVolumeClaim", `{spec: {}}`, "spec.accessModes: Required value"},
		{"Event", `{involvedObject: {namespace: other}}`, "does not match event.namespace"},
		{"Role", `{rules: [{apiGroups: [""], resources: [pods]}]}`, "rules[0].verbs: Required value"},
		{"Role", `{rules: [{nonResourceURLs: [/x], verbs: [get]}]}`, "namespaced rules cannot apply to non-resource URLs"},
		{"RoleBinding", `{roleRef: {kind: Thing, name: x}}`, `roleRef.kind: Unsupported value: "Thing"`},
		{"ClusterRoleBinding", `{roleRef: {kind: Role, name: x}}`, `roleRef.kind: Unsupported value: "Role"`},
		{"ValidatingWebhookConfiguration", `{webhooks: [{name: a.example.com, admissionReviewVersions: [v1], sideEffects: None}]}`, "exactly one of url or service is required"},
	} {
		if got := checked(t, s, test.kind, test.body); !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %s, want %s", test.kind, test.body, got, test.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	s := testScheme(t)
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(`{spec: {volumes: [{name: v}, {name: s, secret: {secretName: x}}], containers: [{name: a, image: "r/i", resources: {limits: {memory: 1Mi}}, ports: [{containerPort: 1}], readinessProbe: {httpGet: {port: 1}}}]}}`), pod); err != nil {
		t.Fatal(err)
	}
	s.Default(pod)
	c := pod.Spec.Containers[0]
	if pod.Spec.RestartPolicy != "Always" || pod.Spec.Volumes[0].EmptyDir == nil || *pod.Spec.Volumes[1].Secret.DefaultMode != 0o644 {
		t.Errorf("pod: %+v", pod.Spec)
	}
	if c.ImagePullPolicy != "Always" || c.Ports[0].Protocol != "TCP" || c.ReadinessProbe.PeriodSeconds != 10 || c.ReadinessProbe.HTTPGet.Path != "/" || c.Resources.Requests.Memory().String() != "1Mi" {
		t.Errorf("container: %+v", c)
	}
	before := pod.DeepCopy()
	s.Default(pod)
	if before.String() != pod.String() {
		t.Error("defaults given twice are not those given once")
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{"a": "Always", "a:latest": "Always", "h:5000/a": "Always", "h:5000/a:v1": "IfNotPresent", "a@sha256:00": "IfNotPresent", "a:latest@sha256:00": "IfNotPresent"} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestPodStatusWord(t *testing.T) {
	state := func(s corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: s}}}
	}
	now := metav1.Now()
	for want, pod := range map[string]*corev1.Pod{
		"Pending":          {Status: corev1.PodStatus{Phase: corev1.PodPending}},
		"Evicted":          {Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}},
		"ImagePullBackOff": {Status: state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}})},
		"OOMKilled":        {Status: state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}})},
		"ExitCode:3":       {Status: state(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}})},
		"Terminating":      {ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Status: state(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})},
		"Init:0/1": {Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i"}}}, Status: corev1.PodStatus{Phase: corev1.PodPending,
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}},
	} {
		if got := podStatus(pod); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestEveryKindHasATable makes sure that cells and headers fit for objects without content.
func TestEveryKindHasATable(t *testing.T) {
	for _, r := range table() {
		got, err := newTables(r).ConvertToTable(t.Context(), r.newObject(), nil)
		if err != nil {
			t.Errorf("%s: %v", r.gvk.Kind, err)
			continue
		}
		if len(got.Rows) != 1 || len(got.Rows[0].Cells) != len(got.ColumnDefinitions) {
			t.Errorf("%s: cells %v for columns %v", r.gvk.Kind, got.Rows, got.ColumnDefinitions)
		}
	}
}

func FuzzLogParameters(f *testing.F) {
	f.Add("follow=true&tailLines=5&sinceTime=2026-01-01T00:00:00Z")
	f.Add("tailLines=x")
	s := testScheme(f)
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		options := &corev1.PodLogOptions{}
		err = s.Parameters.DecodeParameters(values, corev1.SchemeGroupVersion, options)
		if err == nil && options.SinceTime != nil && options.SinceTime.Location() == nil {
			t.Errorf("%q gives a time without a place", raw)
		}
	})
}

// TestStorageForm writes and reads an object of each kind in the form of the store.
func TestStorageForm(t *testing.T) {
	s := testScheme(t)
	for _, r := range table() {
		object := r.newObject()
		accessor(object).SetName("a")
		accessor(object).SetCreationTimestamp(metav1.NewTime(time.Unix(1, 0)))
		codec := s.StorageCodec(r.gvk.GroupVersion())
		data, err := runtime.Encode(codec, object)
		if err != nil {
			t.Errorf("%s: %v", r.gvk.Kind, err)
			continue
		}
		back, err := runtime.Decode(codec, data)
		if err != nil || accessor(back).GetName() != "a" || !strings.HasPrefix(string(data), "k8s\x00") {
			t.Errorf("%s: %v, %v", r.gvk.Kind, back, err)
		}
	}
}
