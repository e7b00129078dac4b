package knative

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const eventType = `{"apiVersion":"eventing.knative.dev/v1beta2","kind":"EventType","metadata":{"name":"it","namespace":"default","uid":"u","labels":{"a":"b"}},
	"spec":{"type":"com.example.made","source":"/made","schema":"http://example.com/schema","description":"made","reference":{"apiVersion":"eventing.knative.dev/v1","kind":"Broker","name":"b"}},
	"status":{"conditions":[{"type":"Ready","status":"True"}]}}`

func eventing(version string) schema.GroupVersion {
	return schema.GroupVersion{Group: "eventing.knative.dev", Version: version}
}

// TestConvertThereAndBack takes an EventType through each other version and back.
func TestConvertThereAndBack(t *testing.T) {
	for _, version := range []string{"v1beta1", "v1beta3"} {
		there, err := Convert(t.Context(), []byte(eventType), eventing(version))
		if err != nil {
			t.Fatal(err)
		}
		if got := at(there, "apiVersion"); got != "eventing.knative.dev/"+version {
			t.Errorf("apiVersion = %v", got)
		}
		back, err := Convert(t.Context(), there, eventing("v1beta2"))
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]any{
			"metadata uid": "u", "metadata labels a": "b", "spec type": "com.example.made", "spec source": "/made", "spec schema": "http://example.com/schema",
			"spec description": "made", "spec reference name": "b", "kind": "EventType",
		} {
			if got := at(back, strings.Fields(path)...); got != want {
				t.Errorf("through %s, %s = %v, want %v", version, path, got, want)
			}
		}
	}
	newest, err := Convert(t.Context(), []byte(eventType), eventing("v1beta3"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Convert(t.Context(), newest, eventing("v1beta1")); err != nil {
		t.Error(err)
	}
	if attributes, _ := at(newest, "spec", "attributes").([]any); len(attributes) != 5 {
		t.Errorf("attributes: %v", attributes)
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, object := range []string{``, `{}`, `{"apiVersion":"eventing.knative.dev/v1","kind":"Broker"}`, strings.Replace(eventType, `"type":"com.example.made"`, `"type":3`, 1)} {
		if _, err := Convert(t.Context(), []byte(object), eventing("v1beta3")); err == nil {
			t.Errorf("converted: %s", object)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte(eventType))
	f.Fuzz(func(t *testing.T, object []byte) {
		for _, version := range []string{"v1beta1", "v1beta2", "v1beta3"} {
			out, err := Convert(context.Background(), object, eventing(version))
			if err == nil && at(out, "apiVersion") != "eventing.knative.dev/"+version {
				t.Errorf("%s is no %s", out, version)
			}
		}
	})
}
