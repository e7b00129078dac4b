package knative

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// fuzzedKinds are all kinds with rules, in a fixed order.
func fuzzedKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for k := range hooks() {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// FuzzAdmit writes objects of any form over each other: the answer is an object or a refusal, an object that was
// admitted is admitted again unchanged, and upstream's code does not panic.
func FuzzAdmit(f *testing.F) {
	kinds := fuzzedKinds()
	index := func(k schema.GroupVersionKind) uint8 { return uint8(slices.Index(kinds, k)) }
	f.Add(index(serviceKind), serviceWith(`{"containers":[{"image":"x"}]}`), serviceWith(`{"containers":[{"image":"y","ports":[{"containerPort":1}]}]}`))
	f.Add(index(serviceKind), serviceWith(`{"containers":[{}]}`), "")
	f.Add(index(revisionKind), `{"spec":{"containers":[{"image":"x"}]}}`, `{"spec":{"containers":[{"image":"y"}]}}`)
	f.Add(index(routeKind), `{"spec":{"traffic":[{"revisionName":"a","percent":100}]}}`, "")
	f.Add(index(brokerKind), `{"spec":{"delivery":{"retry":3}}}`, `{"spec":{}}`)
	f.Add(index(triggerKind), `{"spec":{"broker":"b","filters":[{"cesql":"type = 'x'"}],"subscriber":{"uri":"http://x"}}}`, "")
	f.Add(index(serviceKind), `{"metadata":null,"spec":{"template":null,"traffic":[null]}}`, "")
	f.Add(index(configurationKind), `{"spec":{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/target":"1e400"}}}}}`, "")
	a := newAdmitter(f)
	f.Fuzz(func(t *testing.T, which uint8, first, second string) {
		kind := kinds[int(which)%len(kinds)]
		stored, err := admit(t, a, create(kind, first))
		if errors.Is(err, errUpstreamPanic) || strings.Contains(errorText(err), errUpstreamPanic.Error()) {
			t.Fatal(err)
		}
		if err != nil {
			stored = nil
		} else {
			again, err := admit(t, a, update(kind, stored, string(stored)))
			if err != nil {
				t.Fatalf("%s: admitted once, refused unchanged: %v\n%s", kind.Kind, err, stored)
			}
			if !sameJSON(stored, again) {
				t.Fatalf("%s: admitted again it changes:\n%s\n%s", kind.Kind, stored, again)
			}
		}
		if _, err := admit(t, a, update(kind, stored, second)); strings.Contains(errorText(err), errUpstreamPanic.Error()) {
			t.Fatal(err)
		}
	})
}

// validators are the schemas of all kinds as the API server checks them, by kind.
func validators(t testing.TB) map[schema.GroupVersionKind]validation.SchemaValidator {
	t.Helper()
	scheme := runtime.NewScheme()
	apiextensionsinstall.Install(scheme)
	out := map[schema.GroupVersionKind]validation.SchemaValidator{}
	for _, crd := range Definitions() {
		for _, v := range crd.Spec.Versions {
			var internal apiextensions.JSONSchemaProps
			if err := scheme.Convert(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
				t.Fatal(err)
			}
			validator, _, err := validation.NewSchemaValidator(&internal)
			if err != nil {
				t.Fatal(err)
			}
			out[schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}] = validator
		}
	}
	return out
}

// FuzzSchema holds that defaults never make an object that the kind's own schema refuses.
func FuzzSchema(f *testing.F) {
	kinds, schemas, a := fuzzedKinds(), validators(f), newAdmitter(f)
	index := func(k schema.GroupVersionKind) uint8 { return uint8(slices.Index(kinds, k)) }
	f.Add(index(serviceKind), serviceWith(`{"containers":[{"image":"x","ports":[{}],"readinessProbe":{"httpGet":{}}}]}`))
	f.Add(index(serviceKind), `{"status":{"conditions":[{"type":"Ready","status":"True"}],"traffic":[{}],"address":{}}}`)
	f.Add(index(revisionKind), `{"spec":{"containers":[{"resources":{"limits":{"cpu":"1"}}}],"volumes":[{"name":"x","projected":{"sources":[{}]}}]}}`)
	f.Add(index(brokerKind), `{"spec":{"delivery":{"deadLetterSink":{"ref":{}}}},"status":{"address":{},"conditions":[{"type":"Ready","status":"True"}]}}`)
	f.Add(index(triggerKind), `{"spec":{"filters":[{"all":[{"not":{"exact":{"a":"b"}}}]}],"subscriber":{}}}`)
	for _, k := range kinds {
		f.Add(index(k), `{"spec":{},"status":{}}`)
		f.Add(index(k), `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)
	}
	f.Fuzz(func(t *testing.T, which uint8, object string) {
		kind := kinds[int(which)%len(kinds)]
		var before, after any
		if json.Unmarshal([]byte(object), &before) != nil || len(validation.ValidateCustomResource(nil, before, schemas[kind])) > 0 {
			return // The API server would not have taken it either.
		}
		out, err := a.Default(t.Context(), create(kind, object))
		if err != nil {
			return
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatal(err)
		}
		for _, err := range validation.ValidateCustomResource(nil, after, schemas[kind]) {
			if err.Type != field.ErrorTypeRequired { // A spec that was missing may still lack what is required in it.
				t.Fatalf("%s: defaults break the schema: %v\n%s\n%s", kind.Kind, err, object, out)
			}
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}
