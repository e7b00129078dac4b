package object

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"
)

// Describe shows objects the way people read them: what they are, their conditions, their fields and the events
// about them. now is what ages are counted from.
func (c *Client) Describe(ctx context.Context, targets []Target, s Selection, now time.Time, out io.Writer) error {
	if err := s.check(targets); err != nil {
		return err
	}
	objects, err := c.objects(ctx, targets, s)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		fmt.Fprintln(c.warn, nothingFound(targets, s))
	}
	for i := range objects {
		if i > 0 {
			fmt.Fprint(out, "\n\n")
		}
		events, err := c.eventsAbout(ctx, &objects[i])
		if err != nil {
			return err
		}
		if err := describe(&objects[i], events, now, out); err != nil {
			return err
		}
	}
	return nil
}

// eventsAbout reads the events about an object, the oldest first.
func (c *Client) eventsAbout(ctx context.Context, o *unstructured.Unstructured) ([]corev1.Event, error) {
	about := fields.Set{"involvedObject.name": o.GetName(), "involvedObject.kind": o.GetKind()}
	if uid := o.GetUID(); uid != "" {
		about["involvedObject.uid"] = string(uid)
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	list, err := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).Namespace(namespace).
		List(ctx, metav1.ListOptions{FieldSelector: about.AsSelector().String()})
	if err != nil {
		return nil, fmt.Errorf("events about %s: %w", o.GetName(), err)
	}
	var out []corev1.Event
	for i := range list.Items {
		var e corev1.Event
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &e); err != nil {
			return nil, fmt.Errorf("events about %s: %w", o.GetName(), err)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b corev1.Event) int { return lastSeen(&a).Compare(lastSeen(&b)) })
	return out, nil
}

func lastSeen(e *corev1.Event) time.Time {
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

func describe(o *unstructured.Unstructured, events []corev1.Event, now time.Time, out io.Writer) error {
	var b bytes.Buffer
	describeHead(o, now, &b)
	describeConditions(o, now, &b)
	rest := o.DeepCopy().Object
	for _, key := range []string{"apiVersion", "kind", "metadata"} {
		delete(rest, key)
	}
	unstructured.RemoveNestedField(rest, "status", "conditions")
	for _, key := range fieldOrder(rest) {
		if err := describeField(key, rest[key], &b); err != nil {
			return err
		}
	}
	describeEvents(events, now, &b)
	_, err := out.Write(b.Bytes())
	return err
}

func describeHead(o *unstructured.Unstructured, now time.Time, b *bytes.Buffer) {
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	defer flush(w)
	fmt.Fprintf(w, "Name:\t%s\n", o.GetName())
	if o.GetNamespace() != "" {
		fmt.Fprintf(w, "Namespace:\t%s\n", o.GetNamespace())
	}
	fmt.Fprintf(w, "Kind:\t%s, %s\n", o.GetKind(), o.GetAPIVersion())
	if t := o.GetCreationTimestamp(); !t.IsZero() {
		fmt.Fprintf(w, "Created:\t%s (%s ago)\n", t.UTC().Format(time.RFC3339), ago(now, t.Time))
	}
	if t := o.GetDeletionTimestamp(); t != nil {
		fmt.Fprintf(w, "Deleted:\t%s (%s ago), finalizers %s\n", t.UTC().Format(time.RFC3339), ago(now, t.Time), strings.Join(o.GetFinalizers(), ", "))
	}
	for _, owner := range o.GetOwnerReferences() {
		fmt.Fprintf(w, "Owner:\t%s/%s\n", owner.Kind, owner.Name)
	}
	describeMap(w, "Labels", o.GetLabels())
	describeMap(w, "Annotations", o.GetAnnotations())
}

func describeMap(w io.Writer, title string, m map[string]string) {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if len(keys) == 0 {
		fmt.Fprintf(w, "%s:\t<none>\n", title)
	}
	for i, key := range keys {
		head := ""
		if i == 0 {
			head = title + ":"
		}
		fmt.Fprintf(w, "%s\t%s=%s\n", head, key, oneLine(m[key]))
	}
}

func describeConditions(o *unstructured.Unstructured, now time.Time, b *bytes.Buffer) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	if len(conditions) == 0 {
		return
	}
	fmt.Fprintln(b, "Conditions:")
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "  TYPE\tSTATUS\tAGE\tREASON\tMESSAGE")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok {
			continue
		}
		age := ""
		if t, err := time.Parse(time.RFC3339, text(m, "lastTransitionTime")); err == nil {
			age = ago(now, t)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", text(m, "type"), text(m, "status"), age, text(m, "reason"), oneLine(text(m, "message")))
	}
	flush(w)
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// fieldOrder puts spec and status last; status is what people look for, so it stands at the end.
func fieldOrder(m map[string]any) []string {
	var keys []string
	for key := range m {
		if key != "spec" && key != "status" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range []string{"spec", "status"} {
		if _, ok := m[key]; ok {
			keys = append(keys, key)
		}
	}
	return keys
}

func describeField(key string, value any, b *bytes.Buffer) error {
	if m, ok := value.(map[string]any); ok && len(m) == 0 {
		return nil
	}
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	fmt.Fprintf(b, "%s:\n", strings.ToUpper(key[:1])+key[1:])
	for line := range strings.Lines(string(data)) {
		b.WriteString("  " + line)
	}
	return nil
}

func describeEvents(events []corev1.Event, now time.Time, b *bytes.Buffer) {
	if len(events) == 0 {
		fmt.Fprintln(b, "Events:  <none>")
		return
	}
	fmt.Fprintln(b, "Events:")
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "  TYPE\tREASON\tAGE\tFROM\tMESSAGE")
	for i := range events {
		e := &events[i]
		age := ago(now, lastSeen(e))
		if e.Count > 1 {
			age = fmt.Sprintf("%s (x%d)", age, e.Count)
		}
		from := e.Source.Component
		if from == "" {
			from = e.ReportingController
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", e.Type, e.Reason, age, from, oneLine(strings.TrimSpace(e.Message)))
	}
	flush(w)
}

// flush ends a table that is written into a buffer, which takes everything.
func flush(w *tabwriter.Writer) { _ = w.Flush() }

func ago(now, then time.Time) string { return duration.HumanDuration(now.Sub(then)) }
