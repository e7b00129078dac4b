package knative

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	refusedByEventing = `admission webhook "validation.webhook.eventing.knative.dev" denied the request: validation failed: `
	refusedByChannel  = `admission webhook "validation.inmemorychannel.eventing.knative.dev" denied the request: validation failed: `
)

func eventingObject(kind schema.GroupVersionKind, spec string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"it","namespace":"default"},"spec":%s}`, kind.GroupVersion().String(), kind.Kind, spec)
}

func eventingKind(group, version, name string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group + ".knative.dev", Version: version, Kind: name}
}

func TestBrokers(t *testing.T) {
	a := newAdmitter(t)
	stored, err := admit(t, a, create(brokerKind, eventingObject(brokerKind, `{}`)))
	if err != nil {
		t.Fatal(err)
	}
	if got := at(stored, "metadata", "annotations", "eventing.knative.dev/broker.class"); got != "MTChannelBasedBroker" {
		t.Errorf("broker class = %v", got)
	}
	if got := at(stored, "spec", "config", "name"); got != "config-br-default-channel" {
		t.Errorf("config = %v", got)
	}
	if got := at(stored, "spec", "delivery", "backoffDelay"); got != "PT0.2S" {
		t.Errorf("backoffDelay = %v", got)
	}
	_, err = admit(t, a, update(brokerKind, stored, strings.Replace(string(stored), "MTChannelBasedBroker", "Other", 1)))
	wantRefusal(t, "another class", err, refusedByEventing+"Immutable annotations changed (-old +new): annotations")
	_, err = admit(t, a, update(brokerKind, stored, strings.Replace(string(stored), "config-br-default-channel", "other", 1)))
	wantRefusal(t, "another config", err, refusedByEventing+"Immutable fields changed (-old +new): spec")
}

func TestEventingRefusals(t *testing.T) {
	subscriber := `"subscriber":{"uri":"http://example.com"}`
	channel := eventingKind("messaging", "v1", "InMemoryChannel")
	subscription := eventingKind("messaging", "v1", "Subscription")
	ping := eventingKind("sources", "v1", "PingSource")
	for _, tc := range []struct {
		kind       schema.GroupVersionKind
		spec, want string
	}{
		{triggerKind, `{"broker":"default",` + subscriber + `}`, ""},
		{triggerKind, `{` + subscriber + `}`, refusedByEventing + "missing field(s): spec.broker"},
		{triggerKind, `{"broker":"default"}`, refusedByEventing + "expected at least one, got none: spec.subscriber.ref, spec.subscriber.uri"},
		{triggerKind, `{"broker":"default","filter":{"attributes":{"No":"x"}},` + subscriber + `}`, refusedByEventing + "invalid key name \"No\": spec.filter.attributes"},
		{triggerKind, `{"broker":"default","filters":[{"cesql":"type ="}],` + subscriber + `}`, refusedByEventing + "invalid value: type =: spec.filters[0].cesql"},
		{triggerKind, `{"broker":"default","filters":[{"exact":{"type":"x"},"prefix":{"type":"y"}}],` + subscriber + `}`, refusedByEventing},
		{triggerKind, `{"broker":"default","delivery":{"backoffDelay":"soon"},` + subscriber + `}`, refusedByEventing + "invalid value: soon: spec.delivery.backoffDelay"},
		{triggerKind, `{"broker":"default","delivery":{"backoffPolicy":"lazy"},` + subscriber + `}`, refusedByEventing + "invalid value: lazy: spec.delivery.backoffPolicy"},
		{channel, `{}`, ""},
		{channel, `{"subscribers":[{}]}`, refusedByChannel + "missing field(s): spec.subscribable.subscriber[0].replyURI, spec.subscribable.subscriber[0].subscriberURI"},
		{subscription, `{` + subscriber + `}`, refusedByEventing},
		{ping, `{"schedule":"*/2 * * * *","sink":{"uri":"http://example.com"}}`, ""},
		{ping, `{"schedule":"often","sink":{"uri":"http://example.com"}}`, refusedByEventing},
		{ping, `{"schedule":"*/2 * * * *","data":"x","dataBase64":"eA==","sink":{"uri":"http://example.com"}}`, refusedByEventing},
		{eventingKind("flows", "v1", "Sequence"), `{"steps":[]}`, refusedByEventing + "missing field(s): spec.steps"},
		{eventingKind("flows", "v1", "Parallel"), `{"branches":[]}`, refusedByEventing + "missing field(s): spec.branches"},
		{eventingKind("sinks", "v1alpha1", "JobSink"), `{}`, refusedByEventing + "expected exactly one, got neither: spec.job"},
		{eventingKind("eventing", "v1alpha1", "EventTransform"), `{}`, refusedByEventing},
		{eventingKind("sources", "v1", "SinkBinding"), `{}`, refusedByEventing},
		{eventingKind("sources", "v1", "ContainerSource"), `{}`, refusedByEventing},
		{eventingKind("sources", "v1", "ApiServerSource"), `{}`, refusedByEventing},
		{eventingKind("messaging", "v1", "Channel"), `{}`, ""},
	} {
		_, err := admit(t, newAdmitter(t), create(tc.kind, eventingObject(tc.kind, tc.spec)))
		wantRefusal(t, tc.kind.Kind+" "+tc.spec, err, tc.want)
	}
}

func TestTriggerBrokerIsImmutable(t *testing.T) {
	a := newAdmitter(t)
	stored, err := admit(t, a, create(triggerKind, eventingObject(triggerKind, `{"broker":"one","subscriber":{"uri":"http://example.com"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = admit(t, a, update(triggerKind, stored, strings.Replace(string(stored), `"broker":"one"`, `"broker":"two"`, 1)))
	wantRefusal(t, "another broker", err, refusedByEventing+"Immutable fields changed (-old +new): broker, spec")
}

// TestEveryServedVersionIsAdmitted holds that no kind is served without its defaults and validation.
func TestEveryServedVersionIsAdmitted(t *testing.T) {
	without := map[string]bool{"ClusterDomainClaim": true, "Image": true} // upstream has no webhook for these
	a := newAdmitter(t)
	for _, k := range kinds() {
		for _, v := range k.versions {
			if !a.Handles(k.groupVersionKind(v)) && !without[k.name] {
				t.Errorf("%s has no hook", k.groupVersionKind(v))
			}
		}
	}
}
