package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// FuzzApply applies whatever comes to a core kind and to a custom one: the server answers with a status of the API, never with
// an internal error, and what it has stored can be read back whole.
func FuzzApply(f *testing.F) {
	w := begin(f, "", withWidgets)
	maps, widgets := w.client(f).CoreV1().ConfigMaps("default"), widgetClient(f, w, "default")
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n"))
	f.Add([]byte("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 1}\n"))
	f.Add([]byte("{}"))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Add([]byte("metadata: {name: a, managedFields: [{}], ownerReferences: [{}], deletionTimestamp: x}"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, nmae: b}\n"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, deletionTimestamp: x}\n"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nbinaryData: {k: '?'}\n"))
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, ownerReferences: [{uid: a}, {uid: a}]}\n"))
	f.Add([]byte("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, nmae: b}\nspec: {size: 1}\n"))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		force := true
		options := metav1.PatchOptions{FieldManager: "fuzz", Force: &force}
		_, err := maps.Patch(t.Context(), "a", types.ApplyPatchType, manifest, options)
		wellAnswered(t, err)
		_, err = widgets.Patch(t.Context(), "a", types.ApplyPatchType, manifest, options)
		wellAnswered(t, err)
		if _, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("reading back: %v", err)
		}
		if _, err := widgets.List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("reading back: %v", err)
		}
	})
}

// wrongManifest are how upstream's server-side apply begins to say that a manifest does not fit the schema. It gives that no status, so that the
// code is 500, in Kubernetes as here, and clients show the text.
var wrongManifest = []string{"failed to create typed patch object", "failed to convert new object"}

// wellAnswered fails the test if err is an internal error.
func wellAnswered(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	status, ok := err.(apierrors.APIStatus)
	if ok && slices.ContainsFunc(wrongManifest, func(begin string) bool { return strings.HasPrefix(status.Status().Message, begin) }) {
		return
	}
	if !ok || status.Status().Code >= http.StatusInternalServerError || status.Status().Code == 0 {
		t.Errorf("answer %v", err)
	}
}
