package api

import (
	"fmt"

	"github.com/emicklei/go-restful/v3"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	builder3 "k8s.io/kube-openapi/pkg/builder3"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
)

// installDocuments serves /openapi/v2 and /openapi/v3 for both servers and lets the definitions' controllers add theirs.
// Upstream leaves the merging to its aggregator.
func (c *chain) installDocuments(v2 *openapicommon.Config, v3 *openapicommon.OpenAPIV3Config) error {
	mux := c.core.Handler.NonGoRestfulMux
	services := c.routes()
	document, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), v2)
	if err != nil {
		return fmt.Errorf("api: build OpenAPI v2: %w", err)
	}
	document.Definitions = handler.PruneDefaults(document.Definitions)
	served2 := handler.NewOpenAPIService(document)
	served2.RegisterOpenAPIVersionedService("/openapi/v2", mux)
	served3 := handler3.NewOpenAPIService()
	if err := served3.RegisterOpenAPIV3VersionedService("/openapi/v3", mux); err != nil {
		return fmt.Errorf("api: serve OpenAPI v3: %w", err)
	}
	for _, service := range services {
		document, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), v3)
		if err != nil {
			return fmt.Errorf("api: build OpenAPI v3 of %s: %w", service.RootPath(), err)
		}
		served3.UpdateGroupVersion(service.RootPath()[1:], document)
	}
	extensions := c.extensions.GenericAPIServer
	extensions.StaticOpenAPISpec, extensions.OpenAPIVersionedService, extensions.OpenAPIV3VersionedService = document, served2, served3
	return nil
}

// routes are those of both servers; what both have, such as /version, is the core server's.
func (c *chain) routes() []*restful.WebService {
	services := c.core.Handler.GoRestfulContainer.RegisteredWebServices()
	taken := map[string]bool{}
	for _, s := range services {
		taken[s.RootPath()] = true
	}
	for _, s := range c.extensions.GenericAPIServer.Handler.GoRestfulContainer.RegisteredWebServices() {
		if !taken[s.RootPath()] {
			services = append(services, s)
		}
	}
	return services
}
