package knative

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	eventingconfig "knative.dev/eventing/pkg/apis/config"
	"knative.dev/eventing/pkg/apis/feature"
	messagingconfig "knative.dev/eventing/pkg/apis/messaging/config"
	sourcesconfig "knative.dev/eventing/pkg/apis/sources/config"
	"knative.dev/eventing/pkg/apis/sugar"
	eventingobservability "knative.dev/eventing/pkg/observability"
	netconfig "knative.dev/networking/pkg/config"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/leaderelection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/observability"
	servingconfig "knative.dev/serving/pkg/apis/config"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"
	autoscalersettings "knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/gc"
	servingobservability "knative.dev/serving/pkg/observability"
	routeconfig "knative.dev/serving/pkg/reconciler/route/config"
)

// The namespaces that hold the settings of the two products.
const (
	ServingNamespace  = "knative-serving"
	EventingNamespace = "knative-eventing"
)

// The names of the webhooks that check those settings.
const (
	servingConfigWebhook  = "config.webhook.serving.knative.dev"
	eventingConfigWebhook = "config.webhook.eventing.knative.dev"
)

// settings are the parsed ConfigMaps that defaults and validation depend on, each swapped whole when it changes.
type settings struct {
	defaults   atomic.Pointer[servingconfig.Defaults]
	features   atomic.Pointer[servingconfig.Features]
	autoscaler atomic.Pointer[autoscalersettings.Config]
	brokers    atomic.Pointer[eventingconfig.Defaults]
	channels   atomic.Pointer[messagingconfig.ChannelDefaults]
	pings      atomic.Pointer[sourcesconfig.PingDefaults]
	flags      atomic.Pointer[feature.Flags]
}

// context puts the settings where upstream's types look for them. They get copies, as they would from upstream.
func (s *settings) context(ctx context.Context) context.Context {
	ctx = servingconfig.ToContext(ctx, &servingconfig.Config{
		Defaults: s.defaults.Load().DeepCopy(), Features: s.features.Load().DeepCopy(), Autoscaler: s.autoscaler.Load().DeepCopy(),
	})
	ctx = eventingconfig.ToContext(ctx, &eventingconfig.Config{Defaults: s.brokers.Load().DeepCopy()})
	ctx = messagingconfig.ToContext(ctx, &messagingconfig.Config{ChannelDefaults: s.channels.Load().DeepCopy()})
	ctx = sourcesconfig.ToContext(ctx, &sourcesconfig.Config{PingDefaults: s.pings.Load().DeepCopy()})
	return feature.ToContext(ctx, *s.flags.Load())
}

// parser reads a ConfigMap and gives what to do to put it in force.
type parser func(*corev1.ConfigMap) (func(*settings), error)

// checked is for settings that this package only checks: others obey them.
func checked[T any](parse func(*corev1.ConfigMap) (T, error)) parser {
	return func(cm *corev1.ConfigMap) (func(*settings), error) {
		_, err := parse(cm)
		return func(*settings) {}, err
	}
}

// obeyed is for settings that defaults or validation depend on.
func obeyed[T any](parse func(*corev1.ConfigMap) (*T, error), place func(*settings) *atomic.Pointer[T]) parser {
	return func(cm *corev1.ConfigMap) (func(*settings), error) {
		value, err := parse(cm)
		return func(s *settings) { place(s).Store(value) }, err
	}
}

// settingParsers are the ConfigMaps with a meaning, by namespace and name, with upstream's code to read them.
func settingParsers() map[string]map[string]parser {
	return map[string]map[string]parser{
		ServingNamespace: {
			autoscalerconfig.ConfigName: obeyed(autoscalerconfig.NewConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[autoscalersettings.Config] { return &s.autoscaler }),
			servingconfig.DefaultsConfigName: obeyed(servingconfig.NewDefaultsConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[servingconfig.Defaults] { return &s.defaults }),
			servingconfig.FeaturesConfigName: obeyed(servingconfig.NewFeaturesConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[servingconfig.Features] { return &s.features }),
			gc.ConfigName:                  checked(gc.NewConfigFromConfigMapFunc(context.Background())),
			netconfig.ConfigMapName:        checked(netconfig.NewConfigFromConfigMap),
			deployment.ConfigName:          checked(deployment.NewConfigFromConfigMap),
			routeconfig.DomainConfigName:   checked(routeconfig.NewDomainFromConfigMap),
			"config-observability":         checked(servingObservability),
			logging.ConfigMapName():        checked(logging.NewConfigFromConfigMap),
			leaderelection.ConfigMapName(): checked(leaderelection.NewConfigFromConfigMap),
		},
		EventingNamespace: {
			eventingconfig.DefaultsConfigName: obeyed(eventingconfig.NewDefaultsConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[eventingconfig.Defaults] { return &s.brokers }),
			messagingconfig.ChannelDefaultsConfigName: obeyed(messagingconfig.NewChannelDefaultsConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[messagingconfig.ChannelDefaults] { return &s.channels }),
			sourcesconfig.PingDefaultsConfigName: obeyed(sourcesconfig.NewPingDefaultsConfigFromConfigMap,
				func(s *settings) *atomic.Pointer[sourcesconfig.PingDefaults] { return &s.pings }),
			feature.FlagsConfigName:        obeyed(flags, func(s *settings) *atomic.Pointer[feature.Flags] { return &s.flags }),
			sugar.ConfigName:               checked(sugar.NewConfigFromConfigMap),
			"config-observability":         checked(eventingObservability),
			logging.ConfigMapName():        checked(logging.NewConfigFromConfigMap),
			leaderelection.ConfigMapName(): checked(leaderelection.NewConfigFromConfigMap),
		},
	}
}

func flags(cm *corev1.ConfigMap) (*feature.Flags, error) {
	out, err := feature.NewFlagsConfigFromConfigMap(cm)
	return &out, err
}

func servingObservability(cm *corev1.ConfigMap) (*servingobservability.Config, error) {
	return servingobservability.NewFromMap(cm.Data)
}

// eventingObservability asks the part of upstream's parser that most mistakes are found by first, because the whole
// of it prints them on standard output.
func eventingObservability(cm *corev1.ConfigMap) (*eventingobservability.Config, error) {
	if _, err := observability.NewFromMap(cm.Data); err != nil {
		return nil, err
	}
	return eventingobservability.NewFromMap(cm.Data)
}

// Configure puts the settings of a ConfigMap in force for all later requests. One that is not a Knative setting
// changes nothing. On an error what was in force stays so.
func (a *Admitter) Configure(cm *corev1.ConfigMap) error {
	parse, ok := settingParsers()[cm.Namespace][cm.Name]
	if !ok {
		return nil
	}
	put, err := parse(cm)
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	put(&a.settings)
	return nil
}

// Reset puts the seed of a setting in force again, for when its ConfigMap is deleted. Other names change nothing.
func (a *Admitter) Reset(namespace, name string) error {
	for _, cm := range SeedConfigMaps() {
		if cm.Namespace == namespace && cm.Name == name {
			return a.Configure(cm)
		}
	}
	return nil
}

// ValidateConfigMap refuses settings that Knative could not read, with upstream's text; the error is an API status
// error. A ConfigMap that is not a Knative setting passes.
func ValidateConfigMap(cm *corev1.ConfigMap) error {
	parse, ok := settingParsers()[cm.Namespace][cm.Name]
	if !ok {
		return nil
	}
	webhook := servingConfigWebhook
	if cm.Namespace == EventingNamespace {
		webhook = eventingConfigWebhook
	}
	example, hasExample := cm.Data[configmap.ExampleKey]
	sum, hasSum := cm.Annotations[configmap.ExampleChecksumAnnotation]
	if hasExample && hasSum && sum != configmap.Checksum(example) {
		return denied(webhook, "validation failed: the update modifies a key in %q which is probably not what you want. "+
			"Instead, copy the respective setting to the top-level of the ConfigMap, directly below %q", configmap.ExampleKey, "data")
	}
	if _, err := parse(cm); err != nil {
		return denied(webhook, "validation failed: %v", err)
	}
	return nil
}
