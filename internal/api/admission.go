package api

import (
	"fmt"
	"io"
	"net/url"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatinghooks "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatinghooks "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	clientset "k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/restmapper"

	"github.com/fairlead-dev/fairlead/internal/api/access"
	"github.com/fairlead-dev/fairlead/internal/api/quotas"
)

// mapperRefresh is how old the list of kinds may get that policies with parameters look in.
const mapperRefresh = 30 * time.Second

// admission asks, in this order: whether the namespace takes writes, what Config brings, mutating webhooks, policies,
// validating webhooks, quotas. Everything that changes an object comes before everything that only looks.
func (c *chain) admission(config *genericapiserver.RecommendedConfig) (admission.Interface, error) {
	plugins := admission.NewPlugins()
	var names []string
	add := func(name string, make func() (admission.Interface, error)) {
		plugins.Register(name, func(io.Reader) (admission.Interface, error) { return make() })
		names = append(names, name)
	}
	add("NamespaceLifecycle", func() (admission.Interface, error) { return lifecycle.NewLifecycle(immortalNamespaces()) })
	add("Established", func() (admission.Interface, error) { return established{}, nil })
	add("TokenSecrets", func() (admission.Interface, error) {
		return &tokenSecrets{tokens: c.guard.tokens, objects: c.guard.objects, ca: c.server.CA()}, nil
	})
	add("Aggregation", func() (admission.Interface, error) { return aggregation{}, nil })
	add("Scaled", func() (admission.Interface, error) { return scaled{}, nil })
	add("Lean", func() (admission.Interface, error) { return lean{}, nil })
	for i, plugin := range c.server.cfg.Admission {
		add(fmt.Sprintf("Config%d", i), func() (admission.Interface, error) { return plugin, nil })
	}
	add("Escalation", func() (admission.Interface, error) {
		return &access.Escalation{RBAC: c.guard.rbac, Authorizer: c.guard.authorizer}, nil
	})
	add("MutatingAdmissionWebhook", func() (admission.Interface, error) { return mutatinghooks.NewMutatingWebhook(nil) })
	add("ValidatingAdmissionPolicy", func() (admission.Interface, error) { return validating.NewPlugin(nil), nil })
	add("ValidatingAdmissionWebhook", func() (admission.Interface, error) { return validatinghooks.NewValidatingAdmissionWebhook(nil) })
	add("ResourceQuota", func() (admission.Interface, error) { return &quotas.DryRun{Ledger: c.server.cfg.Quotas}, nil })
	initializers, err := c.admissionInitializers(config)
	if err != nil {
		return nil, err
	}
	chain, err := plugins.NewFromPlugins(names, noPluginConfig{}, initializers, nil)
	if err != nil {
		return nil, fmt.Errorf("api: set up admission: %w", err)
	}
	return chain, nil
}

// immortalNamespaces cannot be deleted.
func immortalNamespaces() sets.String { return sets.NewString("default", "kube-system") }

func (c *chain) admissionInitializers(config *genericapiserver.RecommendedConfig) (admission.PluginInitializer, error) {
	client, err := clientset.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("api: make client: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("api: make client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	err = config.AddPostStartHook("admission-mapper", func(ctx genericapiserver.PostStartHookContext) error {
		go wait.Until(mapper.Reset, mapperRefresh, ctx.Done())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("api: set up admission: %w", err)
	}
	if c.services, err = c.newServices(); err != nil {
		return nil, err
	}
	return admission.PluginInitializers{
		initializer.New(client, dynamicClient, c.informers, config.Authorization.Authorizer, config.FeatureGate, config.EffectiveVersion, config.DrainedNotify(), mapper),
		webhookinit.NewPluginInitializer(hookAuthentication(config), c.services),
	}, nil
}

// hookAuthentication says how webhooks are told who calls: not at all, unless their configuration brings a certificate.
func hookAuthentication(config *genericapiserver.RecommendedConfig) webhook.AuthenticationInfoResolverWrapper {
	return webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, config.EgressSelector, config.LoopbackClientConfig, noop.NewTracerProvider())
}

// noPluginConfig says that no plug-in has a file of settings.
type noPluginConfig struct{}

func (noPluginConfig) ConfigFor(string) (io.Reader, error) { return nil, nil }

// services finds the address of a webhook that is named by its Service: its address inside where it has one, else one of
// its endpoints.
type services struct {
	lister corelisters.ServiceLister
	slices proxy.EndpointSliceGetter
}

// newServices reads Services and EndpointSlices through the chain's watches.
func (c *chain) newServices() (*services, error) {
	slices, err := proxy.NewEndpointSliceIndexerGetter(c.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, fmt.Errorf("api: index endpoints: %w", err)
	}
	return &services{lister: c.informers.Core().V1().Services().Lister(), slices: slices}, nil
}

// ResolveEndpoint gives the address for a port of a Service.
func (s *services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, err := s.lister.Services(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone {
		return proxy.ResolveCluster(s.lister, namespace, name, port)
	}
	return proxy.ResolveEndpoint(s.lister, s.slices, namespace, name, port)
}
