package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"

	"github.com/fairlead-dev/fairlead/internal/api"
)

func regarding() corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p", UID: "u"}
}

func newEvent(name string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/test",
		ReportingInstance: "one", Action: "Try", Reason: "Tried", Type: corev1.EventTypeNormal, Note: "it was tried", Regarding: regarding(),
	}
}

// TestEventsHaveOneStore wants to see the same events in both groups, whichever they came by.
func TestEventsHaveOneStore(t *testing.T) {
	w := begin(t, "", nil)
	client := w.client(t)
	core, events := client.CoreV1().Events("default"), client.EventsV1().Events("default")
	watching, err := core.Watch(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=p"})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	if _, err := events.Create(t.Context(), newEvent("new"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seen := <-watching.ResultChan()
	if e, ok := seen.Object.(*corev1.Event); !ok || e.Message != "it was tried" || e.InvolvedObject != regarding() || e.APIVersion != "" && e.APIVersion != "v1" {
		t.Errorf("core sees %#v", seen.Object)
	}
	_, err = core.Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "old"}, InvolvedObject: regarding(), Reason: "Old", Message: "as ever", Type: corev1.EventTypeWarning,
		Source: corev1.EventSource{Component: "c"}, Count: 3, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := events.List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=p,reason=Old"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("selected: %v, %v", list, err)
	}
	if e := list.Items[0]; e.Note != "as ever" || e.DeprecatedCount != 3 || e.DeprecatedSource.Component != "c" || e.DeprecatedLastTimestamp.IsZero() {
		t.Errorf("events.k8s.io sees %#v", e)
	}
	if _, err := events.List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=p"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field of the other group: %v", err)
	}
	if err := events.Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Get(t.Context(), "old", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("deleted in one group, in the other: %v", err)
	}
}

// TestNewEventsAreChecked holds what events.k8s.io/v1 asks for and core does not.
func TestNewEventsAreChecked(t *testing.T) {
	w := begin(t, "", nil)
	client := w.client(t).EventsV1().Events("default")
	for want, change := range map[string]func(*eventsv1.Event){
		"eventTime: Required value":                       func(e *eventsv1.Event) { e.EventTime = metav1.MicroTime{} },
		`reportingController: Invalid value: ""`:          func(e *eventsv1.Event) { e.ReportingController = "" },
		"reportingInstance: Required value":               func(e *eventsv1.Event) { e.ReportingInstance = "" },
		"action: Too long":                                func(e *eventsv1.Event) { e.Action = strings.Repeat("a", 129) },
		"note: Too long":                                  func(e *eventsv1.Event) { e.Note = strings.Repeat("a", 1025) },
		`type: Unsupported value: "Odd"`:                  func(e *eventsv1.Event) { e.Type = "Odd" },
		"deprecatedCount: Forbidden: needs to be unset":   func(e *eventsv1.Event) { e.DeprecatedCount = 1 },
		`regarding.namespace: Invalid value: "elsewhere"`: func(e *eventsv1.Event) { e.Regarding.Namespace = "elsewhere" },
		"series.count: Invalid value: 1":                  func(e *eventsv1.Event) { e.Series = &eventsv1.EventSeries{Count: 1} },
	} {
		event := newEvent("refused")
		change(event)
		if _, err := client.Create(t.Context(), event, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	made, err := client.Create(t.Context(), newEvent("kept"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	series := []byte(`{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}}`)
	if e, err := client.Patch(t.Context(), made.Name, types.StrategicMergePatchType, series, metav1.PatchOptions{}); err != nil || e.Series == nil || e.Series.Count != 2 {
		t.Errorf("series: %v, %v", e, err)
	}
	if _, err := client.Patch(t.Context(), made.Name, types.MergePatchType, []byte(`{"note":"other"}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "only metadata and series") {
		t.Errorf("another note: %v", err)
	}
}

// TestEventRecorder lets client-go's recorder of the new group write.
func TestEventRecorder(t *testing.T) {
	w := begin(t, "", nil)
	client := w.client(t)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	about := regarding()
	recorder := broadcaster.NewRecorder(scheme.Scheme, "example.com/recorder")
	for _, series := range []bool{false, true} { // the second becomes a series of the first
		recorder.Eventf(&about, nil, corev1.EventTypeWarning, "Broken", "Mend", "it is %s", "broken")
		eventually(t, "an event in core", func(ctx context.Context) (bool, error) {
			list, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=Broken"})
			return err == nil && len(list.Items) == 1 && list.Items[0].Message == "it is broken" && (list.Items[0].Series != nil) == series, err
		})
	}
}

// TestEventsExpire waits until events are forgotten, and until nothing else is.
func TestEventsExpire(t *testing.T) {
	w := begin(t, "", func(c *api.Config) { c.EventTTL = time.Second })
	client := w.client(t)
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), newMap("stays"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.EventsV1().Events("default").Create(t.Context(), newEvent("new"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	old := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old"}, InvolvedObject: regarding(), Reason: "Old"}
	if _, err := client.CoreV1().Events("default").Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "old"} {
		gone(t, "event "+name, func(ctx context.Context) error {
			_, err := client.CoreV1().Events("default").Get(ctx, name, metav1.GetOptions{})
			return err
		})
	}
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "stays", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := api.New(api.Config{Dir: t.TempDir(), Etcd: "unix:///nowhere", Listen: "127.0.0.1:0", EventTTL: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "a second or longer") {
		t.Errorf("a millisecond: %v", err)
	}
}
