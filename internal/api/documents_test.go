package api_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/api"
)

// TestDocumentsFollowDefinitions holds that the OpenAPI documents, which are made when they are asked for, have the kinds of both servers
// and go with what is served.
func TestDocumentsFollowDefinitions(t *testing.T) {
	w := begin(t, "", func(c *api.Config) { c.Definitions = []*apiextensionsv1.CustomResourceDefinition{widgets()} })
	client := w.client(t)
	get := func(ctx context.Context, path string) (string, error) {
		data, err := client.RESTClient().Get().AbsPath(path).Do(ctx).Raw()
		return string(data), err
	}
	const widgetDocument = "/openapi/v3/apis/example.com/v1"
	var asking sync.WaitGroup
	for path, want := range map[string]string{
		"/openapi/v3": `"apis/example.com/v1"`, "/openapi/v3/api/v1": "io.k8s.api.core.v1.Pod", "/openapi/v3/apis/apps/v1": "io.k8s.api.apps.v1.Deployment",
		widgetDocument: "com.example.v1.Widget", "/openapi/v2": "com.example.v1.Widget",
	} {
		asking.Go(func() {
			if got, err := get(t.Context(), path); err != nil || !strings.Contains(got, want) {
				t.Errorf("%s: %v, without %s in %d bytes", path, err, want, len(got))
			}
		})
	}
	asking.Wait()

	definitions, err := apiextensionsclient.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	patch := `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/colour","value":{"type":"string"}}]`
	if _, err := definitions.ApiextensionsV1().CustomResourceDefinitions().Patch(t.Context(), widgets().Name, "application/json-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the document has the new field", func(ctx context.Context) (bool, error) {
		got, err := get(ctx, widgetDocument)
		return strings.Contains(got, "colour"), err
	})
	if err := definitions.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), widgets().Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the document goes with the definition", func(ctx context.Context) (bool, error) {
		got, err := get(ctx, widgetDocument)
		return got == "", err // upstream's handler answers a group that it does not know with nothing
	})
	if got, err := get(t.Context(), "/openapi/v2"); err != nil || strings.Contains(got, "com.example.v1.Widget") {
		t.Errorf("version 2 still has the definition, or %v", err)
	}
}
