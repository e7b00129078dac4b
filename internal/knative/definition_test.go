package knative

import (
	"context"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestDefinitionsAreValid asks the API server's own validation, which also wants schemas to be structural.
func TestDefinitionsAreValid(t *testing.T) {
	scheme := runtime.NewScheme()
	apiextensionsinstall.Install(scheme)
	for _, crd := range Definitions() {
		scheme.Default(crd)
		var internal apiextensions.CustomResourceDefinition
		if err := scheme.Convert(crd, &internal, nil); err != nil {
			t.Fatalf("%s: %v", crd.Name, err)
		}
		internal.Status.StoredVersions = []string{storedVersion(t, crd)}
		for _, err := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
			t.Errorf("%s: %v", crd.Name, err)
		}
	}
}

func storedVersion(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) string {
	t.Helper()
	for _, v := range crd.Spec.Versions {
		if v.Storage {
			return v.Name
		}
	}
	t.Fatalf("%s has no stored version", crd.Name)
	return ""
}

func TestDefinitionsAreTheCallers(t *testing.T) {
	Definitions()[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{}
	if len(Definitions()[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties) == 0 {
		t.Error("a change to one result of Definitions shows in the next")
	}
}

func BenchmarkDefinitions(b *testing.B) {
	for b.Loop() {
		Definitions()
	}
}
