package knative

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
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
