package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// samples has one object of each kind, with the resource it belongs to.
const samples = `
v1 namespaces: {metadata: {name: sample}}
v1 configmaps: {data: {k: v}, binaryData: {b: AAEC}}
v1 secrets: {stringData: {k: v}}
v1 services: {spec: {type: NodePort, ports: [{port: 80, nodePort: 8080}]}}
v1 endpoints: {subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}
v1 serviceaccounts: {}
v1 persistentvolumeclaims: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
v1 resourcequotas: {spec: {hard: {pods: "3", limits.memory: 1Gi, count/services.serving.knative.dev: "2"}}}
v1 events: {involvedObject: {kind: Pod, name: p, namespace: default}, reason: R, message: m, type: Normal}
events.k8s.io/v1 events: {eventTime: "2026-01-01T00:00:00.000000Z", reportingController: x/y, reportingInstance: i, action: A, reason: R, type: Normal, note: note, regarding: {kind: Pod, name: p, namespace: default}}
v1 pods: {spec: {containers: [{name: c, image: "a:v1"}]}}
apps/v1 deployments: {spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: a}]}}}}
batch/v1 jobs: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: a}]}}}}
discovery.k8s.io/v1 endpointslices: {addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]}
coordination.k8s.io/v1 leases: {spec: {holderIdentity: me, leaseDurationSeconds: 15}}
rbac.authorization.k8s.io/v1 roles: {rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
rbac.authorization.k8s.io/v1 rolebindings: {roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u}]}
rbac.authorization.k8s.io/v1 clusterroles: {rules: [{nonResourceURLs: [/x], verbs: [get]}]}
rbac.authorization.k8s.io/v1 clusterrolebindings: {roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: Group, name: g}]}
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations: {webhooks: []}
admissionregistration.k8s.io/v1 validatingwebhookconfigurations: {webhooks: []}
admissionregistration.k8s.io/v1 validatingadmissionpolicies: {spec: {validations: [{expression: "true"}]}}
admissionregistration.k8s.io/v1 validatingadmissionpolicybindings: {spec: {policyName: p, validationActions: [Deny]}}
`

// clusterScoped are the resources of samples without a namespace.
const clusterScoped = "namespaces clusterroles clusterrolebindings mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings"

// TestEveryKind takes an object of each kind through its life, in JSON and in protobuf.
func TestEveryKind(t *testing.T) {
	w := begin(t, "", nil)
	for line := range strings.Lines(samples) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		head, body, _ := strings.Cut(line, ": ")
		groupVersion, resource, _ := strings.Cut(head, " ")
		gv, err := schema.ParseGroupVersion(groupVersion)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(resource, func(t *testing.T) { oneLife(t, w, gv.WithResource(resource), body) })
	}
}

func oneLife(t *testing.T, w *world, resource schema.GroupVersionResource, body string) {
	d, err := dynamic.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	var client dynamic.ResourceInterface = d.Resource(resource)
	namespace := ""
	if !strings.Contains(" "+clusterScoped+" ", " "+resource.Resource+" ") {
		namespace = "default"
		client = d.Resource(resource).Namespace(namespace)
	}
	kind := kindOf(t, resource)
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetGroupVersionKind(resource.GroupVersion().WithKind(kind))
	object.SetName("sample")
	made, err := client.Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	list, err := client.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=sample"})
	if err != nil || len(list.Items) != 1 || list.GetKind() != kind+"List" {
		t.Errorf("list: %d objects of kind %s, %v", len(list.Items), list.GetKind(), err)
	}
	sameInProtobuf(t, w, resource, namespace, made)
	patched, err := client.Patch(t.Context(), "sample", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"1"}}}`), metav1.PatchOptions{})
	if err != nil || patched.GetLabels()["l"] != "1" || patched.GetResourceVersion() == made.GetResourceVersion() {
		t.Errorf("patch: %v, %v", patched, err)
	}
	again, err := client.Update(t.Context(), patched, metav1.UpdateOptions{})
	if err != nil || again.GetResourceVersion() != patched.GetResourceVersion() {
		t.Errorf("an update that changes nothing: %v", err)
	}
	if err := client.Delete(t.Context(), "sample", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	gone(t, resource.Resource, func(ctx context.Context) error {
		_, err := client.Get(ctx, "sample", metav1.GetOptions{})
		return err
	})
}

// kindOf finds the kind of a resource in the clients' scheme.
func kindOf(t *testing.T, resource schema.GroupVersionResource) string {
	t.Helper()
	for kind := range scheme.Scheme.KnownTypes(resource.GroupVersion()) {
		lower := strings.ToLower(kind)
		if lower+"s" == resource.Resource || lower == resource.Resource || strings.TrimSuffix(lower, "y")+"ies" == resource.Resource {
			return kind
		}
	}
	t.Fatalf("no kind for %s", resource)
	return ""
}

// sameInProtobuf reads an object in protobuf and compares it with what came as JSON.
func sameInProtobuf(t *testing.T, w *world, resource schema.GroupVersionResource, namespace string, want *unstructured.Unstructured) {
	t.Helper()
	c := rest.CopyConfig(w.admin(t))
	gv := resource.GroupVersion()
	c.GroupVersion, c.NegotiatedSerializer, c.ContentType, c.APIPath = &gv, scheme.Codecs.WithoutConversion(), "application/vnd.kubernetes.protobuf", "/apis"
	if resource.Group == "" {
		c.APIPath = "/api"
	}
	client, err := rest.RESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	result := client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource.Resource).Name("sample").Do(t.Context())
	var kind string
	if result.ContentType(&kind); kind != "application/vnd.kubernetes.protobuf" {
		t.Errorf("answered in %q", kind)
	}
	object, err := result.Get()
	if err != nil {
		t.Fatalf("get in protobuf: %v", err)
	}
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"spec", "data", "rules", "subjects", "subsets", "endpoints"} {
		a, _ := json.Marshal(got[part])
		b, _ := json.Marshal(want.Object[part])
		if string(a) != string(b) {
			t.Errorf("%s in protobuf:\n%s\nin JSON:\n%s", part, a, b)
		}
	}
}
