package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const published = `{"components":{"schemas":{
"dev.example.v1.Widget":{"description":"A widget.","type":"object","required":["spec"],
  "x-kubernetes-group-version-kind":[{"group":"example.dev","version":"v1","kind":"Widget"}],
  "properties":{"spec":{"allOf":[{"$ref":"#/components/schemas/dev.example.v1.WidgetSpec"}],"description":"What it shall be."}}},
"dev.example.v1.WidgetSpec":{"type":"object","description":"A spec.","properties":{
  "size":{"x-kubernetes-int-or-string":true,"description":"How big."},
  "parts":{"type":"array","items":{"$ref":"#/components/schemas/dev.example.v1.WidgetSpec"}},
  "marks":{"type":"object","additionalProperties":{"type":"string"}},
  "any":{"type":"object","additionalProperties":true},
  "mode":{"type":"string","enum":["on","off"]}}}}}}`

func explained(t *testing.T, recursive bool, fields ...string) (string, error) {
	t.Helper()
	var doc document
	if err := json.Unmarshal([]byte(published), &doc); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	kind := schema.GroupVersionKind{Group: "example.dev", Version: "v1", Kind: "Widget"}
	err := explain(&doc, doc.Components.Schemas["dev.example.v1.Widget"], kind, fields, ExplainOptions{Recursive: recursive}, &b)
	return b.String(), err
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		fields []string
		want   []string
	}{
		{nil, []string{"GROUP:      example.dev\nKIND:       Widget\nVERSION:    v1\n", "DESCRIPTION:\n    A widget.\n", "  spec\t<WidgetSpec> -required-\n    What it shall be.\n"}},
		{[]string{"spec"}, []string{"FIELD: spec <WidgetSpec>", "    What it shall be.", "  marks\t<map[string]string>\n", "  parts\t<[]WidgetSpec>\n", "  size\t<IntOrString>\n    How big.\n", "  any\t<Object>\n    <empty>\n"}},
		{[]string{"spec", "parts", "parts", "mode"}, []string{"FIELD: mode <string>", "ENUM:\n    on\n    off\n"}},
	} {
		got, err := explained(t, false, tc.fields...)
		if err != nil {
			t.Errorf("%v: %v", tc.fields, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: no %q in\n%s", tc.fields, want, got)
			}
		}
	}
}

// TestExplainEnds shows the fields of a type that holds itself.
func TestExplainEnds(t *testing.T) {
	got, err := explained(t, true)
	if err != nil || !strings.Contains(got, "      mode\t<string>") && !strings.Contains(got, "    mode\t<string>") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestExplainUnknownField(t *testing.T) {
	_, err := explained(t, false, "spec", "colour")
	var usage *UsageError
	if !errors.As(err, &usage) || usage.Error() != `Widget.spec has no field "colour"` || usage.Try() != "fairlead explain widget.spec" {
		t.Errorf("error = %v", err)
	}
}
