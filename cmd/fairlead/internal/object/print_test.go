package object

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestRows(t *testing.T) {
	table := &metav1.Table{
		ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Format: "name"}, {Name: "Ready"}, {Name: "Node", Priority: 1}},
		Rows:              []metav1.TableRow{{Cells: []any{"a", "True", "n"}}, {Cells: []any{"longer", nil, "n\nm"}}},
	}
	for _, tc := range []struct {
		rows   rows
		prefix string
		want   string
	}{
		{rows{headers: true}, "", "NAME     READY\na        True\nlonger   \n"},
		{rows{}, "pod", "pod/a        True\npod/longer   \n"},
		{rows{headers: true, wide: true}, "", "NAME     READY   NODE\na        True    n\nlonger           n\\nm\n"},
	} {
		var b bytes.Buffer
		tc.rows.out = &b
		if err := tc.rows.print(table, tc.prefix); err != nil || b.String() != tc.want {
			t.Errorf("%+v:\n%s%v\nwant\n%s", tc.rows, b.String(), err, tc.want)
		}
	}
}

// TestRowsOfAWatch prints a second table without columns under the header of the first.
func TestRowsOfAWatch(t *testing.T) {
	var b bytes.Buffer
	p := rows{out: &b, headers: true}
	columns := []metav1.TableColumnDefinition{{Name: "Name"}}
	for _, table := range []*metav1.Table{
		{ColumnDefinitions: columns, Rows: []metav1.TableRow{{Cells: []any{"a"}}}},
		{Rows: []metav1.TableRow{{Cells: []any{"b"}}}},
		{ColumnDefinitions: columns, Rows: []metav1.TableRow{{Cells: []any{"c"}}}},
	} {
		if err := p.print(table, ""); err != nil {
			t.Fatal(err)
		}
	}
	if want := "NAME\na\nb\nc\n"; b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestFormats(t *testing.T) {
	one := unstructured.Unstructured{Object: map[string]any{"kind": "Pod", "metadata": map[string]any{"name": "a"}}}
	for _, tc := range []struct {
		format string
		alone  bool
		want   string
	}{
		{"yaml", true, "kind: Pod\nmetadata:\n  name: a\n"},
		{"json", true, "{\n    \"kind\": \"Pod\",\n    \"metadata\": {\n        \"name\": \"a\"\n    }\n}\n"},
		{"jsonpath={.metadata.name}", true, "a"},
		{"jsonpath=metadata.name", true, "a"},
		{"jsonpath={.items[*].metadata.name}", false, "a"},
	} {
		f, err := ParseFormat(tc.format)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := f.print(&b, []unstructured.Unstructured{one}, tc.alone); err != nil || b.String() != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.format, b.String(), err, tc.want)
		}
	}
	for _, bad := range []string{"xml", "jsonpath={.a", "custom-columns=A:.a"} {
		if _, err := ParseFormat(bad); err == nil {
			t.Errorf("-o %s was taken", bad)
		}
	}
}

func TestDescribe(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	minute := metav1.NewTime(now.Add(-time.Minute))
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": "a", "namespace": "b", "labels": map[string]any{"x": "y"}},
		"spec":     map[string]any{"template": map[string]any{"k": "v"}},
		"status": map[string]any{"url": "http://a", "conditions": []any{
			map[string]any{"type": "Ready", "status": "False", "reason": "Why", "message": "two\nlines", "lastTransitionTime": minute.UTC().Format(time.RFC3339)},
		}},
	}}
	events := []corev1.Event{{Type: "Warning", Reason: "Failed", Message: "no image", Count: 3, LastTimestamp: minute, Source: corev1.EventSource{Component: "revision"}}}
	var b bytes.Buffer
	if err := describe(o, events, now, &b); err != nil {
		t.Fatal(err)
	}
	const want = `Name:         a
Namespace:    b
Kind:         Service, serving.knative.dev/v1
Labels:       x=y
Annotations:  <none>
Conditions:
  TYPE   STATUS  AGE  REASON  MESSAGE
  Ready  False   60s  Why     two\nlines
Spec:
  template:
    k: v
Status:
  url: http://a
Events:
  TYPE     REASON  AGE       FROM      MESSAGE
  Warning  Failed  60s (x3)  revision  no image
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestIndent(t *testing.T) {
	got := indent("one two\nthree", "  ")
	if got != "  one two\n  three" {
		t.Errorf("indent = %q", got)
	}
	for line := range strings.Lines(indent(strings.Repeat("word ", 100), "    ")) {
		if len(line) > 81 {
			t.Errorf("a line of %d characters", len(line))
		}
	}
}
