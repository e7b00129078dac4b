package knative

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventingconfig "knative.dev/eventing/pkg/apis/config"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesconfig "knative.dev/eventing/pkg/apis/sources/config"
	netconfig "knative.dev/networking/pkg/config"
	servingconfig "knative.dev/serving/pkg/apis/config"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/gc"
	servingobservability "knative.dev/serving/pkg/observability"
)

func seedNamed(t *testing.T, namespace, name string) *corev1.ConfigMap {
	t.Helper()
	for _, cm := range SeedConfigMaps() {
		if cm.Namespace == namespace && cm.Name == name {
			return cm
		}
	}
	t.Fatalf("no seed %s/%s", namespace, name)
	return nil
}

// TestSeedsAreUpstreamsDefaults parses each seed and an empty ConfigMap with upstream's code: both must mean the same.
func TestSeedsAreUpstreamsDefaults(t *testing.T) {
	same(t, ServingNamespace, "config-autoscaler", autoscalerconfig.NewConfigFromConfigMap, nil)
	same(t, ServingNamespace, "config-defaults", servingconfig.NewDefaultsConfigFromConfigMap, nil)
	same(t, ServingNamespace, "config-features", servingconfig.NewFeaturesConfigFromConfigMap, map[string]string{"kubernetes.podspec-runtimeclassname": "enabled"})
	same(t, ServingNamespace, "config-gc", gc.NewConfigFromConfigMapFunc(t.Context()), nil)
	same(t, ServingNamespace, "config-network", netconfig.NewConfigFromConfigMap, map[string]string{"autocreate-cluster-domain-claims": "true"})
	same(t, ServingNamespace, "config-deployment", deployment.NewConfigFromConfigMap, map[string]string{"queue-sidecar-image": "fairlead/gateway"})
	same(t, ServingNamespace, "config-observability", servingObservability, nil)
	same(t, EventingNamespace, "config-features", feature.NewFlagsConfigFromConfigMap, map[string]string{"cross-namespace-event-links": "disabled"})
	same(t, EventingNamespace, "config-ping-defaults", sourcesconfig.NewPingDefaultsConfigFromConfigMap, nil)
	same(t, EventingNamespace, "config-observability", eventingObservability, nil)
}

// same compares the meaning of a seed with that of a ConfigMap that has only the given data.
func same[T any](t *testing.T, namespace, name string, parse func(*corev1.ConfigMap) (T, error), base map[string]string) {
	t.Helper()
	seed, err := parse(seedNamed(t, namespace, name))
	if err != nil {
		t.Fatalf("%s/%s: %v", namespace, name, err)
	}
	empty, err := parse(&corev1.ConfigMap{Data: base})
	if err != nil {
		t.Fatalf("%s/%s without keys: %v", namespace, name, err)
	}
	exact := cmp.Exporter(func(reflectType) bool { return true })
	if diff := cmp.Diff(empty, seed, exact, cmpopts.IgnoreTypes(servingconfig.Defaults{}.UserContainerNameTemplate)); diff != "" {
		t.Errorf("%s/%s is not upstream's default (-upstream +seed):\n%s", namespace, name, diff)
	}
}

func TestSeedsAreValid(t *testing.T) {
	for _, cm := range SeedConfigMaps() {
		if err := ValidateConfigMap(cm); err != nil {
			t.Errorf("%s/%s: %v", cm.Namespace, cm.Name, err)
		}
	}
}

func TestEverySettingHasASeed(t *testing.T) {
	for namespace, names := range settingParsers() {
		for name := range names {
			seedNamed(t, namespace, name)
		}
	}
}

func TestBrokerDefaults(t *testing.T) {
	defaults, err := eventingconfig.NewDefaultsConfigFromConfigMap(seedNamed(t, EventingNamespace, "config-br-defaults"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := defaults.GetBrokerClass("any"); err != nil || got != "MTChannelBasedBroker" {
		t.Errorf("broker class = %q, %v", got, err)
	}
}

func TestValidateConfigMap(t *testing.T) {
	observability := servingobservability.EnableRequestLogKey
	for _, tc := range []struct{ namespace, name, key, value, want string }{
		{ServingNamespace, "config-autoscaler", "stable-window", "1ms",
			`admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: `},
		{ServingNamespace, "config-gc", "min-non-active-revisions", "-3",
			`admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: min-non-active-revisions must be non-negative, was: -3`},
		{ServingNamespace, "config-defaults", "revision-timeout-seconds", "soon",
			`admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: failed to parse "revision-timeout-seconds": `},
		{ServingNamespace, "config-observability", observability, "perhaps",
			`admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: `},
		{EventingNamespace, "config-sugar", "namespace-selector", "{",
			`admission webhook "config.webhook.eventing.knative.dev" denied the request: validation failed: `},
		{EventingNamespace, "config-br-defaults", "default-br-config", "x",
			`admission webhook "config.webhook.eventing.knative.dev" denied the request: validation failed: `},
		{"default", "config-gc", "min-non-active-revisions", "-3", ""},
		{ServingNamespace, "mine", "min-non-active-revisions", "-3", ""},
	} {
		cm := &corev1.ConfigMap{Data: map[string]string{tc.key: tc.value}}
		cm.Namespace, cm.Name = tc.namespace, tc.name
		wantRefusal(t, tc.namespace+"/"+tc.name, ValidateConfigMap(cm), tc.want)
	}
}

func TestConfigureIsObeyed(t *testing.T) {
	a := newAdmitter(t)
	emptyDir := serviceWith(`{"containers":[{"image":"x","volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","emptyDir":{}}]}`)
	_, err := admit(t, a, create(serviceKind, emptyDir))
	wantRefusal(t, "emptyDir by default", err, "")
	cm := seedNamed(t, ServingNamespace, "config-features")
	cm.Data["kubernetes.podspec-volumes-emptydir"] = "disabled"
	if err := a.Configure(cm); err != nil {
		t.Fatal(err)
	}
	_, err = admit(t, a, create(serviceKind, emptyDir))
	wantRefusal(t, "emptyDir switched off", err, `admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: EmptyDir volume support is disabled, but found EmptyDir volume v: `)
	if err := a.Reset(cm.Namespace, cm.Name); err != nil {
		t.Fatal(err)
	}
	_, err = admit(t, a, create(serviceKind, emptyDir))
	wantRefusal(t, "emptyDir after the reset", err, "")
}

func TestConfigureKeepsWhatWorks(t *testing.T) {
	a := newAdmitter(t)
	bad := &corev1.ConfigMap{Data: map[string]string{"revision-timeout-seconds": "soon"}}
	bad.Namespace, bad.Name = ServingNamespace, "config-defaults"
	if err := a.Configure(bad); err == nil {
		t.Error("a setting that cannot be read was taken")
	}
	object, err := admit(t, a, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if got := at(object, "spec", "template", "spec", "timeoutSeconds"); got != 300.0 {
		t.Errorf("timeoutSeconds = %v, want 300", got)
	}
}
