package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// convert moves spec.size of v1 to spec.length of v2 and back.
func convert(w http.ResponseWriter, r *http.Request) {
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw.Raw, u); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		from, to := "size", "length"
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v1") {
			from, to = to, from
		}
		if value, ok, _ := unstructured.NestedInt64(u.Object, "spec", from); ok {
			unstructured.RemoveNestedField(u.Object, "spec", from)
			unstructured.SetNestedField(u.Object, value, "spec", to)
		}
		u.SetAPIVersion(review.Request.DesiredAPIVersion)
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: u})
	}
	review.Request = nil
	json.NewEncoder(w).Encode(review)
}

// twoVersions are widgets with two versions between which a webhook converts.
func twoVersions(h *hookServer) *apiextensionsv1.CustomResourceDefinition {
	definition := widgets()
	second := definition.Spec.Versions[0].DeepCopy()
	second.Name, second.Storage = "v2", false
	second.Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"length": {Type: "integer"}}}
	first := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}}
	definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = first
	definition.Spec.Versions = append(definition.Spec.Versions, *second)
	url := h.URL + "/convert"
	definition.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url, CABundle: h.ca}, ConversionReviewVersions: []string{"v1"},
	}}
	return definition
}

// TestConversionWebhook stores an object in one version and reads, lists, changes and watches it in another.
func TestConversionWebhook(t *testing.T) {
	w, h := begin(t, "", nil), newHookServer(t)
	h.Config.Handler = http.HandlerFunc(convert)
	definitions, err := apiextensionsclient.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := definitions.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), twoVersions(h), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := dynamic.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	in := func(version string) dynamic.ResourceInterface {
		return d.Resource(schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "widgets"}).Namespace("default")
	}
	eventually(t, "the kind is served", func(ctx context.Context) (bool, error) {
		_, err := in("v1").Create(ctx, widget("a"), metav1.CreateOptions{})
		return err == nil, nil
	})
	length := func(u *unstructured.Unstructured) int64 {
		n, _, _ := unstructured.NestedInt64(u.Object, "spec", "length")
		return n
	}
	second, err := in("v2").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || length(second) != 1 {
		t.Fatalf("as v2: %v, %v", second, err)
	}
	watching, err := in("v2").Watch(t.Context(), metav1.ListOptions{ResourceVersion: second.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	if _, err := in("v2").Patch(t.Context(), "a", "application/merge-patch+json", []byte(`{"spec":{"length":7}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if u, ok := (<-watching.ResultChan()).Object.(*unstructured.Unstructured); !ok || length(u) != 7 || u.GetAPIVersion() != "example.com/v2" {
		t.Errorf("watched as v2: %v", u)
	}
	first, err := in("v1").Get(t.Context(), "a", metav1.GetOptions{})
	if size, _, _ := unstructured.NestedInt64(first.Object, "spec", "size"); err != nil || size != 7 {
		t.Errorf("as v1: %v, %v", first, err)
	}
	if list, err := in("v2").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 || length(&list.Items[0]) != 7 {
		t.Errorf("listed as v2: %v, %v", list, err)
	}
	h.Close()
	if _, err := in("v2").Get(t.Context(), "a", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "conversion webhook for example.com/v1, Kind=Widget failed") {
		t.Errorf("with the webhook away: %v", err)
	}
	if _, err := in("v1").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Errorf("the stored version needs no webhook: %v", err)
	}
}
