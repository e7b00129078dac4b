package knative

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// shownTexts collects every description of every schema.
func shownTexts() map[string]bool {
	out := map[string]bool{}
	var walk func(p *apiextensionsv1.JSONSchemaProps)
	walk = func(p *apiextensionsv1.JSONSchemaProps) {
		out[p.Description] = true
		for _, inner := range p.Properties {
			walk(&inner)
		}
		if p.Items != nil && p.Items.Schema != nil {
			walk(p.Items.Schema)
		}
		if p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil {
			walk(p.AdditionalProperties.Schema)
		}
	}
	for _, crd := range Definitions() {
		for _, v := range crd.Spec.Versions {
			walk(v.Schema.OpenAPIV3Schema)
		}
	}
	return out
}

// TestDescriptionsAreShown holds that the tables name fields that exist.
func TestDescriptionsAreShown(t *testing.T) {
	shown := shownTexts()
	for name, text := range descriptions() {
		if !shown[text] {
			t.Errorf("%s %q: no schema has this description", name.goType, name.field)
		}
	}
}

// TestEveryKindIsDescribed holds that `kubectl explain KIND` says something.
func TestEveryKindIsDescribed(t *testing.T) {
	for _, crd := range Definitions() {
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		if schema.Description == "" {
			t.Errorf("%s has no description", crd.Name)
		}
		for _, field := range []string{"apiVersion", "kind"} {
			if schema.Properties[field].Description == "" {
				t.Errorf("%s: %s has no description", crd.Name, field)
			}
		}
	}
}

// TestServingIsDescribed holds that every field of a Service's spec that is not opaque says what it means, down to
// the fields of a container.
func TestServingIsDescribed(t *testing.T) {
	spec := Definitions()[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	template := spec.Properties["template"]
	pod := template.Properties["spec"]
	container := *pod.Properties["containers"].Items.Schema
	for name, p := range map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "template": template, "pod": pod, "container": container} {
		for field, f := range p.Properties {
			if f.Description == "" {
				t.Errorf("%s: %s has no description", name, field)
			}
		}
	}
}

func TestDescriptionsReadWell(t *testing.T) {
	for name, text := range descriptions() {
		if strings.ContainsAny(text, "\n\t") || strings.Contains(text, "  ") {
			t.Errorf("%v: %q", name, text)
		}
	}
}
