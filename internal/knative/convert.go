package knative

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	eventingv1beta1 "knative.dev/eventing/pkg/apis/eventing/v1beta1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	eventingv1beta3 "knative.dev/eventing/pkg/apis/eventing/v1beta3"
	"knative.dev/pkg/apis"
)

// The Service that the definitions name for conversions, as upstream's do. [Convert] answers for it.
const (
	ConversionNamespace = EventingNamespace
	ConversionService   = "eventing-webhook"
)

// convertible is a version of a kind that Knative's code converts, and can be given defaults.
type convertible interface {
	apis.Convertible
	apis.Defaultable
}

// converted are the versions of each kind that have different shapes, older ones first.
func converted() map[schema.GroupKind][]func() (version string, object convertible) {
	return map[schema.GroupKind][]func() (string, convertible){
		{Group: "eventing.knative.dev", Kind: "EventType"}: {
			func() (string, convertible) { return "v1beta1", &eventingv1beta1.EventType{} },
			func() (string, convertible) { return "v1beta2", &eventingv1beta2.EventType{} },
			func() (string, convertible) { return "v1beta3", &eventingv1beta3.EventType{} },
		},
	}
}

// Convert gives an object, as JSON, in another version of its kind, through Knative's own conversion. What the other version has no field
// for is lost, as upstream.
func Convert(ctx context.Context, object []byte, to schema.GroupVersion) (out []byte, err error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := utiljson.Unmarshal(object, &head); err != nil {
		return nil, fmt.Errorf("reading an object to convert: %w", err)
	}
	from := schema.FromAPIVersionAndKind(head.APIVersion, head.Kind)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: converting %s to %s: %v", errUpstreamPanic, from, to, p)
		}
	}()
	source, older := versionOf(from)
	target, newer := versionOf(to.WithKind(from.Kind))
	if source == nil || target == nil {
		return nil, fmt.Errorf("no conversion from %s to %s", from, to)
	}
	if err := utiljson.Unmarshal(object, source); err != nil {
		return nil, fmt.Errorf("reading a %s: %w", from, err)
	}
	if older < newer {
		err = source.ConvertTo(ctx, target)
	} else {
		err = target.ConvertFrom(ctx, source)
	}
	if err != nil {
		return nil, fmt.Errorf("converting %s to %s: %w", from, to, err)
	}
	target.SetDefaults(ctx)
	return marshalAs(target, to.WithKind(from.Kind))
}

// versionOf makes an empty object of a version and says where it stands among the others; nil is none.
func versionOf(kind schema.GroupVersionKind) (object convertible, order int) {
	for i, version := range converted()[kind.GroupKind()] {
		if name, object := version(); name == kind.Version {
			return object, i
		}
	}
	return nil, 0
}

// marshalAs writes an object with its kind, which Go types do not know of themselves.
func marshalAs(object any, kind schema.GroupVersionKind) ([]byte, error) {
	data, err := marshal(object)
	if err != nil {
		return nil, fmt.Errorf("writing a %s: %w", kind, err)
	}
	var tree map[string]any
	if err := utiljson.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("writing a %s: %w", kind, err)
	}
	tree["apiVersion"], tree["kind"] = kind.GroupVersion().String(), kind.Kind
	return marshal(tree)
}
