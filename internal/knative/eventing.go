package knative

import (
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1alpha1 "knative.dev/eventing/pkg/apis/eventing/v1alpha1"
	eventingv1beta1 "knative.dev/eventing/pkg/apis/eventing/v1beta1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	eventingv1beta3 "knative.dev/eventing/pkg/apis/eventing/v1beta3"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	sinksv1alpha1 "knative.dev/eventing/pkg/apis/sinks/v1alpha1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	sourcesv1beta2 "knative.dev/eventing/pkg/apis/sources/v1beta2"
)

const (
	addressable  = "duck.knative.dev/addressable"
	podspecable  = "duck.knative.dev/podspecable"
	subscribable = "messaging.knative.dev/subscribable"
)

func eventingKinds() []kind {
	const group = "eventing.knative.dev"
	categories := []string{"all", "knative", "eventing"}
	ready, url := conditionColumns(`"`), column("URL", ".status.address.url")
	class := column("Class", `.metadata.annotations.eventing\.knative\.dev/broker\.class`)
	class.Priority = 1
	make := func(name, plural string, v version, labels ...string) kind {
		return kind{group: group, name: name, plural: plural, categories: categories, product: productEventing, labels: labels, versions: []version{v}}
	}
	eventTypes := make("EventType", "eventtypes", version{name: "v1beta2", object: &eventingv1beta2.EventType{}, columns: eventTypeColumns()})
	eventTypes.versions = append(eventTypes.versions, version{
		name: "v1beta3", object: &eventingv1beta3.EventType{}, columns: attributeColumns(), notStored: true,
	}, version{
		name: "v1beta1", object: &eventingv1beta1.EventType{}, columns: eventTypeColumns(), notStored: true,
		deprecated: "eventing.knative.dev/v1beta1 EventType is deprecated; use eventing.knative.dev/v1beta2 EventType",
	})
	return []kind{
		make("Broker", "brokers", version{name: "v1", object: &eventingv1.Broker{}, columns: join(columns{url, ageColumn()}, ready, columns{class})}, addressable),
		make("Trigger", "triggers", version{name: "v1", object: &eventingv1.Trigger{},
			columns: join(columns{column("Broker", ".spec.broker"), column("Subscriber_URI", ".status.subscriberUri"), ageColumn()}, ready)}),
		eventTypes,
		make("EventPolicy", "eventpolicies", version{name: "v1alpha1", object: &eventingv1alpha1.EventPolicy{}, columns: ready}),
		make("EventTransform", "eventtransforms", version{name: "v1alpha1", object: &eventingv1alpha1.EventTransform{},
			columns: join(columns{url, column("Sink", ".status.sinkUri")}, ready)}, addressable),
	}
}

func eventTypeColumns() columns {
	return join(columns{
		column("Type", ".spec.type"), column("Source", ".spec.source"), column("Schema", ".spec.schema"),
		column("Reference Name", ".spec.reference.name"), column("Reference Kind", ".spec.reference.kind"),
		column("Description", ".spec.description"),
	}, conditionColumns(`"`))
}

// attributeColumns are those of an EventType that lists the attributes of its events.
func attributeColumns() columns {
	return join(columns{
		column("Type", ".spec.attributes[?(@.name=='type')].value"), column("Source", ".spec.attributes[?(@.name=='source')].value"),
		column("Reference Name", ".spec.reference.name"), column("Reference Kind", ".spec.reference.kind"),
		column("Description", ".spec.description"),
	}, conditionColumns(`"`))
}

// messagingKinds are channels and what reads from them, and the flows built on channels.
func messagingKinds() []kind {
	const messaging, flows = "messaging.knative.dev", "flows.knative.dev"
	ready := conditionColumns(`"`)
	located := join(columns{column("URL", ".status.address.url"), ageColumn()}, ready)
	channel := []string{"all", "knative", "messaging", "channel"}
	flow := []string{"all", "knative", "flows"}
	return []kind{
		{
			group: messaging, name: "Channel", plural: "channels", shortNames: []string{"ch"}, categories: channel, product: productEventing,
			labels: []string{subscribable, addressable}, versions: []version{{name: "v1", object: &messagingv1.Channel{}, columns: located}},
		},
		{
			group: messaging, name: "InMemoryChannel", plural: "inmemorychannels", shortNames: []string{"imc"}, categories: channel, product: productEventing,
			labels: []string{subscribable, addressable}, versions: []version{{name: "v1", object: &messagingv1.InMemoryChannel{}, columns: located}},
		},
		{
			group: messaging, name: "Subscription", plural: "subscriptions", shortNames: []string{"sub"}, categories: []string{"all", "knative", "messaging"},
			product: productEventing, versions: []version{{name: "v1", object: &messagingv1.Subscription{}, columns: join(columns{ageColumn()}, ready)}},
		},
		{
			group: flows, name: "Sequence", plural: "sequences", categories: flow, product: productEventing,
			labels: []string{addressable}, versions: []version{{name: "v1", object: &flowsv1.Sequence{}, columns: located}},
		},
		{
			group: flows, name: "Parallel", plural: "parallels", categories: flow, product: productEventing,
			labels: []string{addressable}, versions: []version{{name: "v1", object: &flowsv1.Parallel{}, columns: located}},
		},
	}
}

// sourceKinds are where events come from and, in the same group of ideas, the sinks that are not addressable kinds
// of another product.
func sourceKinds() []kind {
	const sources, sinks = "sources.knative.dev", "sinks.knative.dev"
	source := []string{"all", "knative", "sources"}
	sink := []string{"all", "knative", "eventing", "sink"}
	isSource := []string{"eventing.knative.dev/source", "duck.knative.dev/source"}
	ready, toSink := conditionColumns("'"), column("Sink", ".status.sinkUri")
	located := join(columns{column("URL", ".status.address.url"), ageColumn()}, conditionColumns(`"`))
	make := func(name, plural string, v version) kind {
		return kind{group: sources, name: name, plural: plural, categories: source, product: productEventing, labels: isSource, versions: []version{v}}
	}
	binding := make("SinkBinding", "sinkbindings", version{name: "v1", object: &sourcesv1.SinkBinding{}, columns: join(columns{toSink, ageColumn()}, ready)})
	binding.categories = append(source, "bindings")
	binding.labels = append([]string{"duck.knative.dev/binding"}, isSource...)
	pingColumns := join(columns{toSink, column("Schedule", ".spec.schedule"), ageColumn()}, ready)
	ping := make("PingSource", "pingsources", version{name: "v1", object: &sourcesv1.PingSource{}, columns: pingColumns})
	ping.annotations = eventTypesOf("dev.knative.sources.ping")
	ping.versions = append(ping.versions, version{
		name: "v1beta2", object: &sourcesv1beta2.PingSource{}, columns: pingColumns, notStored: true,
		deprecated: "sources.knative.dev/v1beta2 PingSource is deprecated; use sources.knative.dev/v1 PingSource",
	})
	watch := make("ApiServerSource", "apiserversources", version{name: "v1", object: &sourcesv1.ApiServerSource{}, columns: join(columns{toSink, ageColumn()}, ready)})
	watch.annotations = eventTypesOf(
		"dev.knative.apiserver.resource.add", "dev.knative.apiserver.resource.delete", "dev.knative.apiserver.resource.update",
		"dev.knative.apiserver.ref.add", "dev.knative.apiserver.ref.delete", "dev.knative.apiserver.ref.update",
	)
	return []kind{
		ping,
		make("ContainerSource", "containersources", version{name: "v1", object: &sourcesv1.ContainerSource{}, columns: join(columns{toSink, ageColumn()}, ready)}),
		binding,
		watch,
		{
			group: sinks, name: "JobSink", plural: "jobsinks", categories: sink, product: productEventing,
			labels: []string{addressable}, versions: []version{{name: "v1alpha1", object: &sinksv1alpha1.JobSink{}, columns: located}},
		},
	}
}

// eventTypesOf is the annotation in which a source says what it sends.
func eventTypesOf(types ...string) map[string]string {
	var list []string
	for _, t := range types {
		list = append(list, fmt.Sprintf(`{"type":%q}`, t))
	}
	return map[string]string{"registry.knative.dev/eventTypes": "[" + strings.Join(list, ",") + "]"}
}

func join(parts ...columns) columns {
	var out []apiextensionsv1.CustomResourceColumnDefinition
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
