package knative

const networkingDescriptions = `
v1alpha1.Ingress: How the gateway sends requests for some host names on. Made for a route; people read it.
v1alpha1.ServerlessService: The instances of a revision as the gateway sees them. Made for a revision; people read it.
v1alpha1.Certificate: A wanted certificate for host names.
v1alpha1.ClusterDomainClaim: Which namespace may use a host name. The name of the object is the host name.
v1alpha1.ClusterDomainClaimSpec:
	namespace: The namespace whose domain mappings may use the host name.
v1alpha1.PodAutoscaler: How a revision is scaled. Made for a revision; people read it.
v1alpha1.PodAutoscalerSpec:
	containerConcurrency: The most requests one instance is given at a time.
	scaleTargetRef: What is scaled.
	reachability: Whether requests can come: Reachable, Unreachable or empty when that is not known.
	protocolType: The protocol between gateway and instances.
v1alpha1.PodAutoscalerStatus:
	desiredScale: How many instances are wanted.
	actualScale: How many instances are there.
v1alpha1.Metric: What is measured for a revision. Made for a revision; people read it.
v1alpha1.Image: An image that is kept at hand for a revision.
`

const eventingDescriptions = `
v1.Broker: A place that takes events and hands each to the triggers that want it.
	spec: What you want.
	status: What is: the address that takes events.
v1.BrokerSpec:
	config: The config map with the settings of this kind of broker.
	delivery: How events are delivered to triggers that do not say so themselves.
v1.Trigger: A wish for events of a broker: which ones, and where to.
	spec: What you want.
	status: What is.
v1.TriggerSpec:
	broker: The broker in the same namespace. It cannot be changed.
	brokerRef: The broker in another namespace, where that is allowed.
	filter: Which events, by attributes that must have exactly these values. Empty means all.
	filters: Which events, by expressions that must all hold. They come before filter.
	subscriber: Where the events go. What it answers goes back to the broker.
	delivery: How events are delivered: retries and what becomes of those that cannot be.
v1.TriggerFilter:
	attributes: Attributes with the value each must have; an empty value means that it must be there.
v1.SubscriptionsAPIFilter: An expression about an event. Exactly one of the fields is set.
	exact: Attributes that must have these values.
	prefix: Attributes that must begin with these values.
	suffix: Attributes that must end with these values.
	all: Expressions of which all must hold.
	any: Expressions of which one must hold.
	not: An expression that must not hold.
	cesql: A CloudEvents SQL expression that must be true.
v1.DeliverySpec: How events are delivered.
	deadLetterSink: Where events go that could not be delivered.
	retry: How often to try again.
	timeout: How long an answer may take, as an ISO 8601 duration: PT30S.
	backoffPolicy: How the pause between tries grows: linear or exponential.
	backoffDelay: The pause before the first try again, as an ISO 8601 duration: PT0.5S.
	retryAfterMax: The longest pause that a Retry-After header may ask for, as an ISO 8601 duration.
	format: How events are written into requests: binary or json. Empty keeps the form they came in.
v1.Destination: Where events go: an object, an address, or an address relative to an object.
	ref: An object that takes events: a service, broker, channel.
	uri: An address, or with ref a path below its address.
	CACerts: Certificates of the authorities to trust there, in PEM form.
	audience: The OIDC audience to ask for.
v1beta2.EventType: An event that can be had here.
v1beta2.EventTypeSpec:
	type: The event's type attribute.
	source: The event's source attribute.
	schema: Where the form of its data is described.
	schemaData: The description of its data.
	broker: Where it can be had. Use reference instead.
	reference: Where it can be had: a broker, channel or source.
	description: What it means.
v1beta3.EventType: An event that can be had here.
v1beta3.EventTypeSpec:
	reference: Where it can be had: a broker, channel or source.
	description: What it means.
	attributes: The event's attributes: at least type, source, specversion and id.
v1beta3.EventAttributeDefinition:
	name: The attribute's name.
	required: Whether every event has it.
	value: The value it has; parts in braces, as in {name}, differ from event to event.
v1alpha1.EventPolicy: Who may send events to something.
v1alpha1.EventPolicySpec:
	to: What events may be sent to. Empty means everything in the namespace.
	from: Who may send.
	filters: Which events may be sent.
v1alpha1.EventTransform: A place that takes events, changes them and sends them on or answers with them.
v1.PingSource: A clock that sends the same event again and again.
	spec: What you want.
	status: What is.
v1.PingSourceSpec:
	schedule: When, in the form of cron, with seconds in front if you like: "*/5 * * * *".
	timezone: The time zone of the schedule, as in Europe/Zurich.
	contentType: The media type of the data.
	data: The data of the event.
	dataBase64: The data of the event in base64, for what is no text.
v1.SourceSpec:
	sink: Where the events go.
	ceOverrides: Attributes to set on every event.
v1.CloudEventOverrides:
	extensions: Attributes with the values to set.
v1.SourceStatus:
	sinkUri: Where the events go, as an address.
	ceAttributes: Types and sources of the events that come.
v1.ContainerSource: A container that sends events.
v1.ContainerSourceSpec:
	template: The container; it gets K_SINK, the address to send to.
v1.SinkBinding: The address of a sink for programs of your own, given to them as K_SINK.
v1.ApiServerSource: Events about changes of objects of the API.
v1.ApiServerSourceSpec:
	resources: The kinds to watch.
	mode: How much of the object an event carries: Reference or Resource.
	serviceAccountName: Who reads the objects.
	namespaceSelector: Which namespaces to watch; by default its own.
v1alpha1.JobSink: A place that takes events and runs a job for each.
v1alpha1.JobSinkSpec:
	job: The job to run.
`

const messagingDescriptions = `
v1.Channel: A place that takes events and hands each to every subscription.
v1.InMemoryChannel: A channel. The name is Knative's; Fairlead keeps its events on disk.
v1.ChannelSpec:
	channelTemplate: The kind of channel to make; by default what default-ch-webhook says.
v1.ChannelableSpec:
	delivery: How events are delivered to subscriptions that do not say so themselves.
v1.Subscription: A wish for the events of a channel, and where to.
v1.SubscriptionSpec:
	channel: The channel. It cannot be changed.
	subscriber: Where the events go.
	reply: Where the answers of the subscriber go.
	delivery: How events are delivered: retries and what becomes of those that cannot be.
v1.Sequence: Steps that an event goes through one after the other; the answer of each is the event of the next.
v1.SequenceSpec:
	steps: The steps, in order.
	channelTemplate: The kind of channel between the steps.
	reply: Where the answer of the last step goes.
v1.Parallel: Branches that each get every event.
v1.ParallelSpec:
	branches: The branches.
	channelTemplate: The kind of channel behind the branches.
	reply: Where answers of branches go that do not say so themselves.
v1.ParallelBranch:
	filter: A service that says whether the event goes further: an answer with an event is yes.
	subscriber: Where the event goes.
	reply: Where the answer goes.
	delivery: How events are delivered in this branch.
`
