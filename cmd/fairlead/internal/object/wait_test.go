package object

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestExpectations(t *testing.T) {
	ready := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"generation": int64(2)},
		"status": map[string]any{
			"observedGeneration": int64(2), "phase": "Running",
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "Active", "status": "False"}},
		},
	}}
	stale := ready.DeepCopy()
	stale.SetGeneration(3)
	for _, tc := range []struct {
		text   string
		object *unstructured.Unstructured
		want   bool
	}{
		{"condition=Ready", ready, true},
		{"condition=ready", ready, true},
		{"condition=Ready", stale, false}, // the status is about an older generation
		{"condition=Ready=False", ready, false},
		{"condition=Active=false", ready, true},
		{"condition=Missing", ready, false},
		{"jsonpath={.status.phase}=Running", ready, true},
		{"jsonpath=.status.phase=Running", ready, true},
		{"jsonpath={.status.phase}=Failed", ready, false},
		{"jsonpath={.status.phase}", ready, true},
		{"jsonpath={.status.nothing}", ready, false},
		{`jsonpath={.status.conditions[?(@.type=="Ready")].status}=True`, ready, true},
	} {
		e, err := ParseExpectation(tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got, err := e.met(tc.object); err != nil || got != tc.want {
			t.Errorf("%s: %v, %v, want %v", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{"", "ready", "condition", "condition=", "jsonpath=", "jsonpath={.a", "luck=good"} {
		if _, err := ParseExpectation(text); err == nil {
			t.Errorf("--for %q was taken", text)
		}
	}
}
