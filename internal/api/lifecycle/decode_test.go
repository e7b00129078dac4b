package lifecycle

import (
	"bytes"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

func owned() *corev1.ConfigMap {
	yes := true
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "a", Namespace: "b", UID: "u", Finalizers: []string{"orphan", "other"}, DeletionTimestamp: &metav1.Time{},
			OwnerReferences: []metav1.OwnerReference{{UID: "o1", BlockOwnerDeletion: &yes}, {UID: "o2"}},
		},
		Data: map[string]string{"k": "v"},
	}
}

func encoded(t testing.TB, e runtime.Encoder) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Encode(owned(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeBothForms(t *testing.T) {
	for name, value := range map[string][]byte{
		"protobuf": encoded(t, protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)),
		"json":     encoded(t, scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion)),
	} {
		f, err := decode(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.uid != "u" || !f.orphan || f.foreground || !slices.Equal(f.owners, []ownerRef{{uid: "o1", blocks: true}, {uid: "o2"}}) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)))
	f.Add(encoded(f, scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion)))
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if facts, err := decode(value); err == nil && facts.uid == "" {
			t.Errorf("an object without a uid was taken: %q", value)
		}
	})
}

func TestParseKey(t *testing.T) {
	core := func(resource string) bool { return resource == "pods" || resource == "namespaces" }
	for key, want := range map[string]place{
		"/registry/pods/default/a":             {resource: "pods", namespace: "default", name: "a"},
		"/registry/namespaces/a":               {resource: "namespaces", name: "a"},
		"/registry/apps/deployments/default/a": {group: "apps", resource: "deployments", namespace: "default", name: "a"},
		"/registry/example.com/widgets/a":      {group: "example.com", resource: "widgets", name: "a"},
	} {
		got, ok := parseKey(key, "/registry", core)
		if !ok || got != want {
			t.Errorf("%s: %+v, %v", key, got, ok)
		}
	}
	for _, key := range []string{"/registry/", "/registry/pods", "/registry/pods//a", "/other/pods/a/b", "/registry/a/b/c/d/e", "/registry/apps/deployments"} {
		if got, ok := parseKey(key, "/registry", core); ok {
			t.Errorf("%s: %+v, want none", key, got)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("/registry/pods/default/a")
	f.Fuzz(func(t *testing.T, key string) {
		p, ok := parseKey(key, "/registry", func(resource string) bool { return resource == "pods" })
		if ok && (p.name == "" || p.resource == "") {
			t.Errorf("%q gives %+v", key, p)
		}
	})
}
