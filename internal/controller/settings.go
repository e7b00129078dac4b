package controller

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	netcfg "knative.dev/networking/pkg/config"
	"knative.dev/pkg/logging"
	apicfg "knative.dev/serving/pkg/apis/config"
	autoscalercfg "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/gc"
	"knative.dev/serving/pkg/observability"
	o11ymap "knative.dev/serving/pkg/observability/configmap"
	revcfg "knative.dev/serving/pkg/reconciler/revision/config"
	routecfg "knative.dev/serving/pkg/reconciler/route/config"
)

// systemNamespace is where Knative keeps the ConfigMaps that configure it.
const systemNamespace = "knative-serving"

// settings is what the ConfigMaps in knative-serving say. A value is never changed after it was published;
// a change of a ConfigMap publishes a new one.
type settings struct {
	autoscaler    *autoscalerconfig.Config
	defaults      *apicfg.Defaults
	deployment    *deployment.Config
	domain        *routecfg.Domain
	features      *apicfg.Features
	gc            *gc.Config
	network       *netcfg.Config
	observability *observability.Config
}

// settingReaders says which ConfigMap is read by which of Knative's own parsers into which field.
func settingReaders() map[string]func(*settings, *corev1.ConfigMap) error {
	return map[string]func(*settings, *corev1.ConfigMap) error{
		autoscalercfg.ConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.autoscaler, err = autoscalercfg.NewConfigFromConfigMap(m)
			return err
		},
		apicfg.DefaultsConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.defaults, err = apicfg.NewDefaultsConfigFromConfigMap(m)
			return err
		},
		deployment.ConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.deployment, err = deployment.NewConfigFromConfigMap(withQueueImage(m))
			return err
		},
		routecfg.DomainConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.domain, err = routecfg.NewDomainFromConfigMap(m)
			return err
		},
		apicfg.FeaturesConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.features, err = apicfg.NewFeaturesConfigFromConfigMap(m)
			return err
		},
		gc.ConfigName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.gc, err = gc.NewConfigFromConfigMapFunc(quiet(context.Background()))(m)
			return err
		},
		netcfg.ConfigMapName: func(s *settings, m *corev1.ConfigMap) (err error) {
			s.network, err = netcfg.NewConfigFromConfigMap(m)
			return err
		},
		o11ymap.Name(): func(s *settings, m *corev1.ConfigMap) (err error) {
			s.observability, err = o11ymap.Parse(m)
			return err
		},
	}
}

// queueImage stands in the views where Kubernetes would run the queue-proxy container; here the gateway does
// its work, and no such image is ever pulled.
const queueImage = "fairlead.dev/gateway"

// withQueueImage gives Knative's parser the one key it insists on and we have no use for.
func withQueueImage(m *corev1.ConfigMap) *corev1.ConfigMap {
	if m.Data[deployment.QueueSidecarImageKey] != "" || m.Data[deployment.DeprecatedQueueSidecarImageKey] != "" {
		return m
	}
	m = m.DeepCopy()
	if m.Data == nil {
		m.Data = make(map[string]string, 1)
	}
	m.Data[deployment.QueueSidecarImageKey] = queueImage
	return m
}

// defaultSettings is what holds where a ConfigMap is missing: every parser is given an empty one.
// domain is the default domain of routes.
func defaultSettings(domain string) (*settings, error) {
	s := &settings{}
	for name, read := range settingReaders() {
		m := &corev1.ConfigMap{}
		m.Name, m.Namespace = name, systemNamespace
		if err := read(s, m); err != nil {
			return nil, fmt.Errorf("default settings of %s: %w", name, err)
		}
	}
	s.domain = &routecfg.Domain{Domains: map[string]routecfg.DomainConfig{domain: {Type: routecfg.DomainTypeWildcard}}}
	return s, nil
}

// with gives a copy of s that follows the ConfigMap m, or s itself where m is none of ours. On an error s stays
// in force.
func (s *settings) with(m *corev1.ConfigMap, domain string) (*settings, error) {
	read, ours := settingReaders()[m.Name]
	if !ours {
		return s, nil
	}
	next := *s
	if err := read(&next, m); err != nil {
		return s, fmt.Errorf("ConfigMap %s/%s: %w", m.Namespace, m.Name, err)
	}
	if m.Name == routecfg.DomainConfigName && !namesDomain(m) {
		d, err := defaultSettings(domain)
		if err != nil {
			return s, err
		}
		next.domain = d.domain
	}
	return &next, nil
}

// namesDomain tells whether config-domain names a domain at all (Knative's own _example key does not count).
func namesDomain(m *corev1.ConfigMap) bool {
	for k := range m.Data {
		if !strings.HasPrefix(k, "_") {
			return true
		}
	}
	return false
}

// context carries s the way Knative's libraries look for it.
func (s *settings) context(ctx context.Context) context.Context {
	ctx = quiet(ctx)
	ctx = apicfg.ToContext(ctx, s.apis())
	ctx = routecfg.ToContext(ctx, &routecfg.Config{Domain: s.domain, GC: s.gc, Network: s.network, Features: s.features})
	return revcfg.ToContext(ctx, s.revision())
}

func (s *settings) apis() *apicfg.Config {
	return &apicfg.Config{Defaults: s.defaults, Features: s.features, Autoscaler: s.autoscaler}
}

func (s *settings) revision() *revcfg.Config {
	return &revcfg.Config{
		Config:        s.apis(),
		Deployment:    s.deployment,
		Logging:       &logging.Config{},
		Network:       s.network,
		Observability: s.observability,
	}
}

// quiet silences the logger that Knative's libraries take from a context: what matters we log ourselves.
func quiet(ctx context.Context) context.Context {
	return logging.WithLogger(ctx, zap.NewNop().Sugar())
}
