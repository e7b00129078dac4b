package knative

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/runtime"
)

// structural is the schema of a kind as the API server uses it.
func structural(t testing.TB, name string) *structuralschema.Structural {
	t.Helper()
	scheme := runtime.NewScheme()
	apiextensionsinstall.Install(scheme)
	for _, crd := range Definitions() {
		if crd.Name != name {
			continue
		}
		var internal apiextensions.JSONSchemaProps
		if err := scheme.Convert(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
			t.Fatal(err)
		}
		out, err := structuralschema.NewStructural(&internal)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Fatalf("no definition %s", name)
	return nil
}

// TestRefusedFieldsReachValidation drops what the API server drops and then asks for the refusal, which must name
// the field; a field that Kubernetes does not have either must have been dropped.
func TestRefusedFieldsReachValidation(t *testing.T) {
	schema := structural(t, "services.serving.knative.dev")
	for field, value := range map[string]string{
		"spec.template.spec.containers[0].lifecycle":                      `{"preStop":{"exec":{"command":["x"]}}}`,
		"spec.template.spec.containers[0].stdin":                          `true`,
		"spec.template.spec.containers[0].tty":                            `true`,
		"spec.template.spec.containers[0].volumeDevices":                  `[{"name":"a","devicePath":"/dev/a"}]`,
		"spec.template.spec.containers[0].securityContext.seLinuxOptions": `{"level":"x"}`,
		"spec.template.spec.nodeName":                                     `"n"`,
		"spec.template.spec.terminationGracePeriodSeconds":                `3`,
		"spec.template.spec.hostname":                                     `"h"`,
	} {
		container, pod, extra := `"image":"x"`, "", field[strings.LastIndex(field, ".")+1:]
		switch {
		case strings.Contains(field, "securityContext"):
			container += fmt.Sprintf(`,"securityContext":{%q:%s}`, extra, value)
		case strings.Contains(field, "containers"):
			container += fmt.Sprintf(`,%q:%s`, extra, value)
		default:
			pod = fmt.Sprintf(`,%q:%s`, extra, value)
		}
		pruned := prune(t, schema, serviceWith(fmt.Sprintf(`{"nonsense":1,"containers":[{"nonsense":2,%s}]%s}`, container, pod)))
		if strings.Contains(pruned, "nonsense") {
			t.Errorf("an unknown field was kept: %s", pruned)
		}
		_, err := admit(t, newAdmitter(t), create(serviceKind, pruned))
		wantRefusal(t, field, err, refused+"must not set the field(s): "+field)
	}
}

func prune(t testing.TB, schema *structuralschema.Structural, object string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(object), &v); err != nil {
		t.Fatal(err)
	}
	pruning.Prune(v, schema, true)
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
