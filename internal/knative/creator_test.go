package knative

import (
	"strings"
	"testing"
)

// TestCreatorIsKept writes a Service again without the annotations that the first write was given, as a PUT of its manifest does.
func TestCreatorIsKept(t *testing.T) {
	a := newAdmitter(t)
	manifest := serviceWith(`{"containers":[{"image":"x"}],"enableServiceLinks":false}`)
	stored, err := admit(t, a, create(serviceKind, manifest))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(manifest, `"image":"x"`, `"image":"y"`, 1)
	annotated := func(key, value string) string {
		return strings.Replace(manifest, `"namespace":"default"`, `"namespace":"default","annotations":{"serving.knative.dev/`+key+`":"`+value+`"}`, 1)
	}
	for name, tc := range map[string]struct{ object, creator, modifier, refusal string }{
		"unchanged":               {manifest, "ada", "ada", ""},
		"another spec":            {changed, "ada", "bob", ""},
		"with the same creator":   {annotated("creator", "ada"), "ada", "ada", ""},
		"with another creator":    {annotated("creator", "eve"), "", "", refused + "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"},
		"with an empty creator":   {annotated("creator", ""), "", "", refused + "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"},
		"with another modifier":   {annotated("lastModifier", "eve"), "", "", refused + "invalid value: eve: metadata.annotations.serving.knative.dev/lastModifier"},
		"another annotation only": {annotated("rollout-duration", "10s"), "ada", "ada", ""},
	} {
		out, err := admit(t, a, update(serviceKind, stored, tc.object))
		wantRefusal(t, name, err, tc.refusal)
		if err != nil {
			continue
		}
		creator, modifier := at(out, "metadata", "annotations", "serving.knative.dev/creator"), at(out, "metadata", "annotations", "serving.knative.dev/lastModifier")
		if creator != tc.creator || modifier != tc.modifier {
			t.Errorf("%s: creator %v, lastModifier %v, want %s, %s", name, creator, modifier, tc.creator, tc.modifier)
		}
	}
}
