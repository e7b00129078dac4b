package kinds

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	maxEventFieldBytes = 128
	maxEventNoteBytes  = 1024
)

// eventRow serves the events of events.k8s.io/v1, which are those of core/v1 under other names.
func eventRow() *row {
	return &row{
		gvk: eventsv1.SchemeGroupVersion.WithKind("Event"), plural: "events", singular: "event", short: []string{"ev"}, namespaced: true,
		object: &eventsv1.Event{}, list: &eventsv1.EventList{}, fields: newEventFields(), expires: true,
		validate: validateNewEvent, columns: newEventColumns(),
	}
}

// StoredAs names the resource among whose objects those of another are stored: events have two groups and one store.
func StoredAs(resource schema.GroupResource) schema.GroupResource {
	if resource.Group == eventsv1.GroupName && resource.Resource == "events" {
		return corev1.Resource("events")
	}
	return resource
}

// eventCodec stores events of events.k8s.io as those of core.
type eventCodec struct{ core runtime.Codec }

// Identifier tells encoders apart in caches of encoded objects.
func (eventCodec) Identifier() runtime.Identifier { return "events-as-core" }

// Encode writes the event of core that says the same.
func (c eventCodec) Encode(object runtime.Object, w io.Writer) error {
	event, ok := object.(*eventsv1.Event)
	if !ok {
		return fmt.Errorf("kinds: store an event: a %T is none", object)
	}
	return c.core.Encode(toCore(event), w)
}

// Decode reads an event of core.
func (c eventCodec) Decode(data []byte, _ *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	object, gvk, err := c.core.Decode(data, nil, nil)
	if err != nil {
		return nil, gvk, err
	}
	stored, ok := object.(*corev1.Event)
	if !ok {
		return nil, gvk, fmt.Errorf("kinds: read an event: a %T is stored", object)
	}
	event, ok := into.(*eventsv1.Event)
	if !ok {
		event = &eventsv1.Event{}
	}
	fromCore(stored, event)
	return event, gvk, nil
}

func toCore(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Related: e.Related, Reason: e.Reason, Message: e.Note, Type: e.Type, Action: e.Action,
		EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func fromCore(e *corev1.Event, out *eventsv1.Event) {
	*out = eventsv1.Event{
		ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Related: e.Related, Reason: e.Reason, Note: e.Message, Type: e.Type, Action: e.Action,
		EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
}

// newEventFields are those of core's events, under the names of this group.
func newEventFields() *selectable {
	of := eventFields()
	names := map[string]string{
		"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace", "regarding.name": "involvedObject.name",
		"regarding.uid": "involvedObject.uid", "regarding.apiVersion": "involvedObject.apiVersion",
		"regarding.resourceVersion": "involvedObject.resourceVersion", "regarding.fieldPath": "involvedObject.fieldPath",
		"reason": "reason", "reportingController": "reportingComponent", "type": "type",
	}
	out := &selectable{values: func(object runtime.Object) fields.Set {
		values, set := of.values(toCore(object.(*eventsv1.Event))), fields.Set{}
		for ours, core := range names {
			set[ours] = values[core]
		}
		return set
	}}
	for name := range names {
		out.names = append(out.names, name)
	}
	return out
}

// validateNewEvent holds events to what this group asks for, which is more than core does. Only the series of an event changes.
func validateNewEvent(ctx context.Context, object, old runtime.Object) field.ErrorList {
	e := object.(*eventsv1.Event)
	errs := validateEvent(ctx, toCore(e), nil)
	if e.Namespace != e.Regarding.Namespace && len(errs) > 0 {
		errs[0].Field = "regarding.namespace"
	}
	if e.Series != nil {
		if e.Series.Count < 2 {
			errs = append(errs, field.Invalid(field.NewPath("series", "count"), e.Series.Count, "should be at least 2"))
		}
		if e.Series.LastObservedTime.IsZero() {
			errs = append(errs, field.Required(field.NewPath("series", "lastObservedTime"), ""))
		}
	}
	if before, ok := old.(*eventsv1.Event); ok {
		return append(errs, unchangedEvent(e, before)...)
	}
	return append(errs, validateEventFields(e)...)
}

func validateEventFields(e *eventsv1.Event) field.ErrorList {
	var errs field.ErrorList
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	for _, msg := range validation.IsQualifiedName(e.ReportingController) {
		errs = append(errs, field.Invalid(field.NewPath("reportingController"), e.ReportingController, msg))
	}
	for name, value := range map[string]string{"reportingInstance": e.ReportingInstance, "action": e.Action, "reason": e.Reason} {
		switch {
		case value == "":
			errs = append(errs, field.Required(field.NewPath(name), ""))
		case len(value) > maxEventFieldBytes:
			errs = append(errs, field.TooLong(field.NewPath(name), "", maxEventFieldBytes))
		}
	}
	errs = append(errs, oneOf(field.NewPath("type"), e.Type, []string{corev1.EventTypeNormal, corev1.EventTypeWarning})...)
	if len(e.Note) > maxEventNoteBytes {
		errs = append(errs, field.TooLong(field.NewPath("note"), "", maxEventNoteBytes))
	}
	for name, is := range map[string]bool{
		"deprecatedFirstTimestamp": !e.DeprecatedFirstTimestamp.IsZero(), "deprecatedLastTimestamp": !e.DeprecatedLastTimestamp.IsZero(),
		"deprecatedCount": e.DeprecatedCount != 0, "deprecatedSource": e.DeprecatedSource != (corev1.EventSource{}),
	} {
		if is {
			errs = append(errs, field.Forbidden(field.NewPath(name), "needs to be unset"))
		}
	}
	return errs
}

func unchangedEvent(e, before *eventsv1.Event) field.ErrorList {
	now, was := toCore(e), toCore(before)
	now.ObjectMeta, now.Series, was.ObjectMeta, was.Series = corev1.Event{}.ObjectMeta, nil, corev1.Event{}.ObjectMeta, nil
	if equality.Semantic.DeepEqual(now, was) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath(""), "field is immutable: only metadata and series of an event may change")}
}

// newEventColumns shows both groups' events alike.
func newEventColumns() *columns {
	of := eventColumns()
	return of.reading(func(object runtime.Object) runtime.Object { return toCore(object.(*eventsv1.Event)) })
}
