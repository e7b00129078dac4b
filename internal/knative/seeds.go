package knative

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seed is one ConfigMap as a fresh installation has it.
type seed struct {
	namespace, name, component string
	data                       map[string]string
}

// SeedConfigMaps gives the settings of a fresh installation. Every value is upstream's default, written out so that
// `kubectl edit` shows what can be changed, except config-domain (empty: the daemon's setting holds until a domain is
// named there) and, in config-network, autocreate-cluster-domain-claims (true: one machine has one owner). Keys without
// a default are left out, and so are those whose default follows another key. The caller owns the result.
func SeedConfigMaps() []*corev1.ConfigMap {
	var out []*corev1.ConfigMap
	for _, s := range append(servingSeeds(), eventingSeeds()...) {
		labels := map[string]string{"app.kubernetes.io/name": s.namespace}
		if s.component != "" {
			labels["app.kubernetes.io/component"] = s.component
		}
		out = append(out, &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, Labels: labels},
			Data:       s.data,
		})
	}
	return out
}

func servingSeeds() []seed {
	return []seed{
		{ServingNamespace, "config-autoscaler", "autoscaler", map[string]string{
			"container-concurrency-target-percentage": "70",
			"container-concurrency-target-default":    "100",
			"requests-per-second-target-default":      "200",
			"target-burst-capacity":                   "211",
			"stable-window":                           "60s",
			"panic-window-percentage":                 "10.0",
			"panic-threshold-percentage":              "200.0",
			"max-scale-up-rate":                       "1000.0",
			"max-scale-down-rate":                     "2.0",
			"enable-scale-to-zero":                    "true",
			"scale-to-zero-grace-period":              "30s",
			"scale-to-zero-pod-retention-period":      "0s",
			"pod-autoscaler-class":                    "kpa.autoscaling.knative.dev",
			"activator-capacity":                      "100.0",
			"initial-scale":                           "1",
			"allow-zero-initial-scale":                "false",
			"min-scale":                               "0",
			"max-scale":                               "0",
			"max-scale-limit":                         "0",
			"scale-down-delay":                        "0s",
		}},
		{ServingNamespace, "config-defaults", "controller", map[string]string{
			"revision-timeout-seconds":         "300",
			"max-revision-timeout-seconds":     "600",
			"revision-idle-timeout-seconds":    "0",
			"container-name-template":          "user-container",
			"init-container-name-template":     "init-container",
			"container-concurrency":            "0",
			"container-concurrency-max-limit":  "1000",
			"allow-container-concurrency-zero": "true",
			"enable-service-links":             "false",
		}},
		{ServingNamespace, "config-features", "controller", servingFeatureSeeds()},
		{ServingNamespace, "config-gc", "controller", map[string]string{
			"retain-since-create-time":      "48h",
			"retain-since-last-active-time": "15h",
			"min-non-active-revisions":      "20",
			"max-non-active-revisions":      "1000",
		}},
		{ServingNamespace, "config-network", "networking", map[string]string{
			"autocreate-cluster-domain-claims": "true",
			"domain-template":                  "{{.Name}}.{{.Namespace}}.{{.Domain}}",
			"tag-template":                     "{{.Tag}}-{{.Name}}",
			"http-protocol":                    "Enabled",
			"external-domain-tls":              "Disabled",
			"default-external-scheme":          "http",
			"rollout-duration":                 "0",
		}},
		{ServingNamespace, "config-deployment", "controller", map[string]string{
			"queue-sidecar-image":               "fairlead/gateway",
			"registries-skipping-tag-resolving": "kind.local,ko.local,dev.local",
			"digest-resolution-timeout":         "10s",
			"progress-deadline":                 "600s",
		}},
		{ServingNamespace, "config-domain", "controller", map[string]string{}},
		{ServingNamespace, "config-observability", "observability", map[string]string{
			"logging.enable-request-log":       "false",
			"logging.enable-probe-request-log": "false",
			"metrics-protocol":                 "none",
			"request-metrics-protocol":         "none",
			"tracing-protocol":                 "none",
		}},
		{ServingNamespace, "config-logging", "logging", nil},
		{ServingNamespace, "config-leader-election", "controller", map[string]string{
			"lease-duration": "60s", "renew-deadline": "40s", "retry-period": "10s", "buckets": "1",
		}},
	}
}

func servingFeatureSeeds() map[string]string {
	// On beside what upstream has on: the runtime class, by which a service chooses what isolates it.
	out := map[string]string{
		"multi-container": "enabled", "kubernetes.podspec-volumes-emptydir": "enabled", "kubernetes.podspec-runtimeclassname": "enabled",
	}
	for _, name := range []string{
		"multi-container-probing", "secure-pod-defaults", "tag-header-based-routing", "autodetect-http2",
		"kubernetes.containerspec-addcapabilities", "kubernetes.podspec-affinity", "kubernetes.podspec-dnsconfig",
		"kubernetes.podspec-dnspolicy", "kubernetes.podspec-fieldref", "kubernetes.podspec-hostaliases",
		"kubernetes.podspec-hostipc", "kubernetes.podspec-hostnetwork", "kubernetes.podspec-hostpid",
		"kubernetes.podspec-init-containers", "kubernetes.podspec-nodeselector", "kubernetes.podspec-persistent-volume-claim",
		"kubernetes.podspec-persistent-volume-write", "kubernetes.podspec-priorityclassname",
		"kubernetes.podspec-schedulername", "kubernetes.podspec-securitycontext", "kubernetes.podspec-shareprocessnamespace",
		"kubernetes.podspec-tolerations", "kubernetes.podspec-topologyspreadconstraints", "kubernetes.podspec-volumes-csi",
		"kubernetes.podspec-volumes-ephemeral", "kubernetes.podspec-volumes-hostpath", "kubernetes.podspec-volumes-image",
		"kubernetes.podspec-volumes-mount-propagation", "queueproxy.mount-podinfo", "queueproxy.resource-defaults",
	} {
		out[name] = "disabled"
	}
	return out
}

func eventingSeeds() []seed {
	const inMemory = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n"
	return []seed{
		{EventingNamespace, "config-br-defaults", "", map[string]string{"default-br-config": `clusterDefault:
  brokerClass: MTChannelBasedBroker
  apiVersion: v1
  kind: ConfigMap
  name: config-br-default-channel
  namespace: knative-eventing
  delivery:
    retry: 10
    backoffPolicy: exponential
    backoffDelay: PT0.2S
`}},
		{EventingNamespace, "config-br-default-channel", "", map[string]string{"channel-template-spec": inMemory}},
		{EventingNamespace, "default-ch-webhook", "", map[string]string{
			"default-ch-config": "clusterDefault:\n  apiVersion: messaging.knative.dev/v1\n  kind: InMemoryChannel\n",
		}},
		{EventingNamespace, "config-ping-defaults", "", map[string]string{"data-max-size": "-1"}},
		{EventingNamespace, "config-features", "", map[string]string{
			"kreference-group":            "disabled",
			"delivery-retryafter":         "disabled",
			"delivery-timeout":            "enabled",
			"kreference-mapping":          "disabled",
			"transport-encryption":        "disabled",
			"eventtype-auto-create":       "disabled",
			"authentication-oidc":         "disabled",
			"default-authorization-mode":  "allow-same-namespace",
			"cross-namespace-event-links": "disabled",
			"new-apiserversource-filters": "disabled",
		}},
		{EventingNamespace, "config-sugar", "", nil},
		{EventingNamespace, "config-kreference-mapping", "", nil},
		{EventingNamespace, "config-imc-event-dispatcher", "", map[string]string{"MaxIdleConnections": "1000", "MaxIdleConnectionsPerHost": "100"}},
		{EventingNamespace, "config-observability", "", map[string]string{"metrics-protocol": "none", "tracing-protocol": "none", "sink-event-error-reporting.enable": "false"}},
		{EventingNamespace, "config-logging", "", nil},
		{EventingNamespace, "config-leader-election", "", map[string]string{
			"lease-duration": "15s", "renew-deadline": "10s", "retry-period": "2s", "buckets": "1",
		}},
	}
}
