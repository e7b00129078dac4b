package api

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"

	"github.com/fairlead-dev/fairlead/internal/api/kinds"
	"github.com/fairlead-dev/fairlead/internal/api/lifecycle"
)

// catalog knows the resources served, from discovery.
type catalog struct {
	manager aggregated.ResourceManager
	core    map[string]bool

	mu       sync.Mutex
	versions map[schema.GroupResource]string
}

func newCatalog(manager aggregated.ResourceManager) *catalog {
	return &catalog{manager: manager, core: kinds.CoreResources()}
}

// IsCore says whether a resource is one of the group without a name.
func (c *catalog) IsCore(resource string) bool { return c.core[resource] }

// Version gives the version that is preferred for a resource; one that is not known is looked for again.
func (c *catalog) Version(resource schema.GroupResource) (string, bool) {
	if resource.Group == "" {
		return "v1", c.core[resource.Resource]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version, ok := c.versions[resource]; ok {
		return version, true
	}
	groups, err := aggregatedGroups(c.manager)
	if err != nil {
		return "", false
	}
	c.versions = map[schema.GroupResource]string{}
	for _, g := range groups.Items {
		for _, v := range g.Versions {
			for _, r := range v.Resources {
				key := schema.GroupResource{Group: g.Name, Resource: r.Resource}
				if _, preferred := c.versions[key]; !preferred {
					c.versions[key] = v.Version
				}
			}
		}
	}
	version, ok := c.versions[resource]
	return version, ok
}

// keeper makes the part that deletes what nobody owns and empties namespaces.
func (c *chain) keeper() (*lifecycle.Keeper, error) {
	return lifecycle.New(lifecycle.Config{
		Etcd: c.etcd.Client, Prefix: keyPrefix, Client: c.server.Loopback(), Catalog: newCatalog(c.core.AggregatedDiscoveryGroupManager),
		Logger: c.server.cfg.Logger, Registerer: c.server.cfg.Registerer,
	})
}
