package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/server/mux"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	builder3 "k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/cached"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// documents serves /openapi/v2 and /openapi/v3 for the kinds of both servers. They are made when they are first asked for, and
// those of definitions anew when these have changed: they cost a fifth of a second and 20 MB, and many servers are never asked.
// Upstream makes them at the start and leaves the merging to its aggregator.
type documents struct {
	c        *chain
	v2       *openapicommon.Config
	v3       *openapicommon.OpenAPIV3Config
	services []*restful.WebService

	mu      sync.Mutex
	mux     *mux.PathRecorderMux // nil until the documents of the core kinds are made
	served2 *handler.OpenAPIService
	served3 *handler3.OpenAPIService
	// mark tells of which definitions, in which state, the documents are.
	mark string
	// made holds the documents of definitions by name, state and version.
	made map[string]*spec3.OpenAPI
	// served are the group versions of definitions that are served, as handler3 spells them.
	served map[string]bool
}

// installDocuments serves the documents of both servers.
func (c *chain) installDocuments(v2 *openapicommon.Config, v3 *openapicommon.OpenAPIV3Config) {
	d := &documents{c: c, v2: v2, v3: v3, services: c.routes()}
	paths := c.core.Handler.NonGoRestfulMux
	paths.Handle("/openapi/v2", d)
	paths.Handle("/openapi/v3", d)
	paths.HandlePrefix("/openapi/v3/", d)
}

// ServeHTTP answers with documents of what is served now.
func (d *documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := d.update(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// update makes what is missing.
func (d *documents) update() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mux == nil {
		if err := d.begin(); err != nil {
			return err
		}
	}
	list, err := d.c.definitions().Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("api: list definitions: %w", err)
	}
	list = slices.DeleteFunc(list, func(definition *apiextensionsv1.CustomResourceDefinition) bool {
		return !apihelpers.IsCRDConditionTrue(definition, apiextensionsv1.Established)
	})
	slices.SortFunc(list, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })
	mark := ""
	for _, definition := range list {
		mark += state(definition) + "\n"
	}
	if mark != d.mark {
		d.served2.UpdateSpecLazy(d.document2(list, mark))
		d.update3(list)
		d.mark = mark
	}
	return nil
}

// state names a definition as it is now.
func state(definition *apiextensionsv1.CustomResourceDefinition) string {
	return definition.Name + " " + definition.ResourceVersion
}

// begin makes the documents of the core kinds.
func (d *documents) begin() error {
	paths := mux.NewPathRecorderMux("openapi")
	served3 := handler3.NewOpenAPIService()
	if err := served3.RegisterOpenAPIV3VersionedService("/openapi/v3", paths); err != nil {
		return fmt.Errorf("api: serve OpenAPI v3: %w", err)
	}
	for _, service := range d.services {
		document, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), d.v3)
		if err != nil {
			return fmt.Errorf("api: build OpenAPI v3 of %s: %w", service.RootPath(), err)
		}
		served3.UpdateGroupVersion(service.RootPath()[1:], document)
	}
	d.served2 = handler.NewOpenAPIServiceLazy(d.document2(nil, ""))
	d.served2.RegisterOpenAPIVersionedService("/openapi/v2", paths)
	d.mux, d.served3 = paths, served3
	d.made, d.served = map[string]*spec3.OpenAPI{}, map[string]bool{}
	return nil
}

// document2 is the one document of version 2, made when it is asked for.
func (d *documents) document2(list []*apiextensionsv1.CustomResourceDefinition, mark string) cached.Value[*spec.Swagger] {
	return cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		document, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(d.services), d.v2)
		if err != nil {
			return nil, "", fmt.Errorf("api: build OpenAPI v2: %w", err)
		}
		document.Definitions = handler.PruneDefaults(document.Definitions)
		var parts []*spec.Swagger
		for _, definition := range list {
			for _, version := range servedVersions(definition) {
				part, err := builder.BuildOpenAPIV2(definition, version, builder.Options{V2: true, IncludeSelectableFields: true})
				if err != nil {
					d.skip(definition, err)
					continue
				}
				part.Definitions = handler.PruneDefaults(part.Definitions)
				parts = append(parts, part)
			}
		}
		document, err = builder.MergeSpecs(document, parts...)
		if err != nil {
			return nil, "", fmt.Errorf("api: merge OpenAPI v2: %w", err)
		}
		return document, digest([]byte(mark)), nil
	}))
}

// update3 brings the documents of version 3, one for each group version, up to date.
func (d *documents) update3(list []*apiextensionsv1.CustomResourceDefinition) {
	made, groups := map[string]*spec3.OpenAPI{}, map[string][]*spec3.OpenAPI{}
	for _, definition := range list {
		for _, version := range servedVersions(definition) {
			key := state(definition) + " " + version
			part := d.made[key]
			if part == nil {
				var err error
				if part, err = builder.BuildOpenAPIV3(definition, version, builder.Options{IncludeSelectableFields: true}); err != nil {
					d.skip(definition, err)
					continue
				}
			}
			made[key] = part
			group := "apis/" + definition.Spec.Group + "/" + version
			groups[group] = append(groups[group], part)
		}
	}
	for group := range d.served {
		if groups[group] == nil {
			d.served3.DeleteGroupVersion(group)
		}
	}
	served := map[string]bool{}
	for group, parts := range groups {
		document, err := builder.MergeSpecsV3(parts...)
		if err != nil {
			d.c.server.cfg.Logger.Warn("schemas of a group are not published", "group", group, "err", err)
			continue
		}
		d.served3.UpdateGroupVersion(group, document)
		served[group] = true
	}
	d.made, d.served = made, served
}

func (d *documents) skip(definition *apiextensionsv1.CustomResourceDefinition, err error) {
	d.c.server.cfg.Logger.Warn("schema of a definition is not published", "definition", definition.Name, "err", err)
}

func servedVersions(definition *apiextensionsv1.CustomResourceDefinition) []string {
	var names []string
	for _, v := range definition.Spec.Versions {
		if v.Served {
			names = append(names, v.Name)
		}
	}
	return names
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
