package knative

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1alpha1 "knative.dev/eventing/pkg/apis/eventing/v1alpha1"
	eventingv1beta1 "knative.dev/eventing/pkg/apis/eventing/v1beta1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	eventingv1beta3 "knative.dev/eventing/pkg/apis/eventing/v1beta3"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/eventing/pkg/apis/sinks"
	sinksv1alpha1 "knative.dev/eventing/pkg/apis/sinks/v1alpha1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	sourcesv1beta2 "knative.dev/eventing/pkg/apis/sources/v1beta2"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/webhook/resourcesemantics"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
	"knative.dev/serving/pkg/webhook"
)

// The names of upstream's webhooks, which every refusal quotes.
const (
	servingDefaulting, servingValidation   = "webhook.serving.knative.dev", "validation.webhook.serving.knative.dev"
	eventingDefaulting, eventingValidation = "webhook.eventing.knative.dev", "validation.webhook.eventing.knative.dev"
	channelDefaulting, channelValidation   = "inmemorychannel.eventing.knative.dev", "validation.inmemorychannel.eventing.knative.dev"
)

// hooks are the kinds upstream's webhooks handle. Serving lets unknown fields pass (its schemas drop them), Eventing
// refuses them.
func hooks() map[schema.GroupVersionKind]hook {
	out := map[schema.GroupVersionKind]hook{}
	add := func(h hook, version schema.GroupVersion, kinds map[string]resourcesemantics.GenericCRD) {
		for name, object := range kinds {
			h.object = object
			out[version.WithKind(name)] = h
		}
	}
	type kinds = map[string]resourcesemantics.GenericCRD
	serving := hook{defaulting: servingDefaulting, validator: servingValidation}
	add(serving, servingv1.SchemeGroupVersion, kinds{
		"Service": &servingv1.Service{}, "Configuration": &servingv1.Configuration{}, "Revision": &servingv1.Revision{}, "Route": &servingv1.Route{},
	})
	add(serving, servingv1beta1.SchemeGroupVersion, kinds{"DomainMapping": &servingv1beta1.DomainMapping{}})
	add(serving, autoscalingv1alpha1.SchemeGroupVersion, kinds{"PodAutoscaler": &autoscalingv1alpha1.PodAutoscaler{}, "Metric": &autoscalingv1alpha1.Metric{}})
	add(serving, networkingv1alpha1.SchemeGroupVersion, kinds{
		"Certificate": &networkingv1alpha1.Certificate{}, "Ingress": &networkingv1alpha1.Ingress{}, "ServerlessService": &networkingv1alpha1.ServerlessService{},
	})
	eventing := hook{defaulting: eventingDefaulting, validator: eventingValidation, strict: true}
	add(eventing, eventingv1alpha1.SchemeGroupVersion, kinds{
		"EventPolicy": &eventingv1alpha1.EventPolicy{}, "EventTransform": &eventingv1alpha1.EventTransform{},
	})
	add(eventing, eventingv1beta1.SchemeGroupVersion, kinds{"EventType": &eventingv1beta1.EventType{}})
	add(eventing, eventingv1beta2.SchemeGroupVersion, kinds{"EventType": &eventingv1beta2.EventType{}})
	add(eventing, eventingv1beta3.SchemeGroupVersion, kinds{"EventType": &eventingv1beta3.EventType{}})
	add(eventing, eventingv1.SchemeGroupVersion, kinds{"Broker": &eventingv1.Broker{}, "Trigger": &eventingv1.Trigger{}})
	add(eventing, messagingv1.SchemeGroupVersion, kinds{"Channel": &messagingv1.Channel{}, "Subscription": &messagingv1.Subscription{}})
	add(eventing, sourcesv1beta2.SchemeGroupVersion, kinds{"PingSource": &sourcesv1beta2.PingSource{}})
	add(eventing, sourcesv1.SchemeGroupVersion, kinds{
		"ApiServerSource": &sourcesv1.ApiServerSource{}, "PingSource": &sourcesv1.PingSource{},
		"SinkBinding": &sourcesv1.SinkBinding{}, "ContainerSource": &sourcesv1.ContainerSource{},
	})
	add(eventing, sinksv1alpha1.SchemeGroupVersion, kinds{"JobSink": &sinksv1alpha1.JobSink{}})
	add(eventing, flowsv1.SchemeGroupVersion, kinds{"Parallel": &flowsv1.Parallel{}, "Sequence": &flowsv1.Sequence{}})
	channel := hook{defaulting: channelDefaulting, validator: channelValidation, strict: true}
	add(channel, messagingv1.SchemeGroupVersion, kinds{"InMemoryChannel": &messagingv1.InMemoryChannel{}})
	return out
}

// validate runs the type's own validation. That of JobSink creates the Job in a dry run; where there is no client
// for it, only the presence of the Job is checked.
func (a *Admitter) validate(ctx context.Context, object resourcesemantics.GenericCRD) *apis.FieldError {
	sink, ok := object.(*sinksv1alpha1.JobSink)
	if !ok {
		return object.Validate(ctx)
	}
	if kube := a.kube.Load(); kube != nil {
		return sink.Validate(sinks.WithConfig(ctx, &sinks.Config{KubeClient: *kube}))
	}
	if sink.Spec.Job == nil {
		return apis.ErrMissingOneOf("job").ViaField("spec")
	}
	return nil
}

// tryPods does what upstream's webhook does when a Service or Configuration is written in a dry run: it has the API
// server look at the Pod that the template would become, which tells of fields that Knative's own validation passes by.
func (a *Admitter) tryPods(ctx context.Context, r Request) error {
	kube := a.kube.Load()
	if !r.DryRun || r.Subresource != "" || kube == nil || r.Kind.GroupVersion() != servingv1.SchemeGroupVersion {
		return nil
	}
	var try func(context.Context, *unstructured.Unstructured) error
	switch r.Kind.Kind {
	case "Service":
		try = webhook.ValidateService
	case "Configuration":
		try = webhook.ValidateConfiguration
	default:
		return nil
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(r.Object); err != nil {
		return err
	}
	return try(context.WithValue(ctx, kubeclient.Key{}, *kube), object)
}
