package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"go.etcd.io/etcd/client/v3/kubernetes"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/version"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	basecompatibility "k8s.io/component-base/compatibility"

	"github.com/fairlead-dev/fairlead/internal/api/kinds"
	generated "github.com/fairlead-dev/fairlead/internal/api/openapi"
	"github.com/fairlead-dev/fairlead/internal/api/quotas"
)

// chain is the two servers of the API: the core kinds, and behind them the custom resources.
type chain struct {
	server     *Server
	scheme     *kinds.Scheme
	etcd       *kubernetes.Client
	informers  informers.SharedInformerFactory
	extensions *apiextensions.CustomResourceDefinitions
	core       *genericapiserver.GenericAPIServer
	prepared   preparedServer
	streams    *streams
	guard      *guard
	services   *services
	quotas     *quotas.Keeper
}

// preparedServer is what PrepareRun returns; upstream does not export its type.
type preparedServer interface {
	RunWithContext(ctx context.Context) error
}

// build makes both servers over the store, without serving yet.
func (s *Server) build() (*chain, error) {
	c := &chain{server: s, streams: newStreams(s.cfg.Live)}
	var err error
	if c.scheme, err = kinds.NewScheme(); err != nil {
		return nil, err
	}
	if c.etcd, err = dialStore(s.cfg.Etcd); err != nil {
		return nil, err
	}
	c.quotas = quotas.New(quotas.Config{Ledger: s.cfg.Quotas, Etcd: c.etcd.Client, Prefix: keyPrefix, Codec: c.codec(schema.GroupResource{}), Logger: s.cfg.Logger})
	if err := c.buildServers(); err != nil {
		return nil, errors.Join(err, c.etcd.Close())
	}
	return c, nil
}

func (c *chain) buildServers() error {
	config, err := c.config()
	if err != nil {
		return err
	}
	if err := c.buildExtensions(*config); err != nil {
		return err
	}
	if err := c.buildCore(config); err != nil {
		return err
	}
	c.installDocuments(config.OpenAPIConfig, config.OpenAPIV3Config)
	c.prepared = c.core.PrepareRun()
	return nil
}

func (c *chain) close() { c.etcd.Close() }

// config is what both servers have in common.
func (c *chain) config() (*genericapiserver.RecommendedConfig, error) {
	s := c.server
	config := genericapiserver.NewRecommendedConfig(c.scheme.Codecs)
	config.EffectiveVersion = serverVersion(s.cfg.Version)
	config.SkipOpenAPIInstallation = true // documents.go serves those of both servers
	config.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	config.EnableProfiling = false
	config.EnableIndex = false
	config.EnableMetrics = false
	config.LoopbackClientConfig = s.Loopback()
	config.ExternalAddress = s.listener.Addr().String()
	if addr, ok := s.listener.Addr().(*net.TCPAddr); ok {
		config.PublicAddress = addr.IP
	}
	names := openapinamer.NewDefinitionNamer(c.scheme.Scheme, apiextensions.Scheme)
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generated.GetOpenAPIDefinitions)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, names)
	config.OpenAPIConfig.Info.Title = "Fairlead"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, names)
	config.OpenAPIV3Config.Info.Title = "Fairlead"
	if err := s.secure(config); err != nil {
		return nil, err
	}
	client, err := clientset.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("api: make client: %w", err)
	}
	c.informers = informers.NewSharedInformerFactory(client, 0)
	config.SharedInformerFactory = c.informers
	config.RESTOptionsGetter = &backend{client: c.etcd, codec: c.codec, quotas: c.quotas}
	if c.guard, err = c.newGuard(client); err != nil {
		return nil, err
	}
	c.guard.apply(config)
	c.showViews(config)
	s.audit(config)
	config.FeatureGate = utilfeature.DefaultFeatureGate
	config.AdmissionControl, err = c.admission(config)
	return config, err
}

// secure serves TLS on the public listener, or, where that is plain, on one that nobody dials: upstream's server cannot
// be without.
func (s *Server) secure(config *genericapiserver.RecommendedConfig) error {
	cert, err := dynamiccertificates.NewStaticCertKeyContent("server", s.identity.certificate, s.identity.key)
	if err != nil {
		return fmt.Errorf("api: use certificate: %w", err)
	}
	config.SecureServing = &genericapiserver.SecureServingInfo{Listener: s.listener, Cert: cert}
	if s.cfg.Insecure {
		config.SecureServing.Listener = newMemoryListener()
	}
	return nil
}

// serverVersion keeps the version of Kubernetes whose API this is for the numbers that clients compare, and shows ours.
func serverVersion(ours string) basecompatibility.EffectiveVersion {
	return shownVersion{basecompatibility.NewEffectiveVersionFromString(kubernetesVersion, "", ""), version.MustParseGeneric(kubernetesVersion), ours}
}

// codec gives the codec in which a resource of the core server is stored.
func (c *chain) codec(resource schema.GroupResource) runtime.Codec {
	for _, gv := range c.scheme.PrioritizedVersionsForGroup(resource.Group) {
		return c.scheme.StorageCodec(gv)
	}
	return c.scheme.StorageCodec(schema.GroupVersion{Version: "v1"})
}

func (c *chain) buildExtensions(config genericapiserver.RecommendedConfig) error {
	config.Serializer = apiextensions.Codecs
	config.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{} // the core server runs them
	config.MergedResourceConfig = apiextensions.DefaultAPIResourceConfigSource()
	config.RESTOptionsGetter = &backend{client: c.etcd, quotas: c.quotas, codec: func(schema.GroupResource) runtime.Codec {
		return apiextensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	}}
	extensions := &apiextensions.Config{
		GenericConfig: &config,
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: &backend{client: c.etcd, codec: customCodec, quotas: c.quotas},
			MasterCount:          1,
			ServiceResolver:      c.services,
			AuthResolverWrapper:  c.convertHere(hookAuthentication(&config)),
		},
	}
	var err error
	c.extensions, err = extensions.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound{}))
	if err != nil {
		return fmt.Errorf("api: make server for definitions: %w", err)
	}
	return nil
}

func (c *chain) buildCore(config *genericapiserver.RecommendedConfig) error {
	config.AggregatedDiscoveryGroupManager = c.extensions.GenericAPIServer.AggregatedDiscoveryGroupManager
	config.EnableDiscovery = false // groups.go serves the groups of both servers
	core, err := config.Complete().New("fairlead", c.extensions.GenericAPIServer)
	if err != nil {
		return fmt.Errorf("api: make server: %w", err)
	}
	c.core = core
	storage, err := kinds.NewStorage(c.scheme, kinds.Options{Getter: config.RESTOptionsGetter, EventTTL: c.server.cfg.EventTTL})
	if err != nil {
		return err
	}
	if err := c.installAccess(storage); err != nil {
		return err
	}
	var groups []*genericapiserver.APIGroupInfo
	for gv, resources := range storage {
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, c.scheme.Scheme, c.scheme.Parameters, c.scheme.Codecs)
		info.PrioritizedVersions = []schema.GroupVersion{gv}
		info.VersionedResourcesStorageMap[gv.Version] = resources
		if gv.Group == "" {
			c.installPods(resources, config.Authorization.Authorizer)
			if err := core.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info); err != nil {
				return fmt.Errorf("api: install core kinds: %w", err)
			}
			continue
		}
		groups = append(groups, &info)
	}
	if err := core.InstallAPIGroups(groups...); err != nil {
		return fmt.Errorf("api: install kinds: %w", err)
	}
	c.installGroups()
	return nil
}

// shortVersion leaves out the v.
func shortVersion(v string) string { return strings.TrimPrefix(v, "v") }
