package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// installGroups serves /apis with the groups of both servers, in the aggregated form and in the old one. Upstream leaves
// the old one to its aggregator.
func (c *chain) installGroups() {
	manager := c.core.AggregatedDiscoveryGroupManager
	list := &groupList{manager: manager, serializer: c.scheme.Codecs}
	wrapped := aggregated.WrapAggregatedDiscoveryToHandler(list, manager, nil)
	c.core.Handler.GoRestfulContainer.Add(wrapped.GenerateWebService("/apis", metav1.APIGroupList{}))
}

// groupList answers with the groups in the old form.
type groupList struct {
	manager    aggregated.ResourceManager
	serializer runtime.NegotiatedSerializer
}

func (g *groupList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	groups, err := aggregatedGroups(g.manager)
	if err != nil {
		responsewriters.InternalError(w, r, err)
		return
	}
	list := &metav1.APIGroupList{}
	for _, item := range groups.Items {
		list.Groups = append(list.Groups, oldGroup(item))
	}
	responsewriters.WriteObjectNegotiated(g.serializer, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, list, false)
}

// oldGroup puts a group into the old form; versions are in order of preference in both.
func oldGroup(item apidiscoveryv2.APIGroupDiscovery) metav1.APIGroup {
	group := metav1.APIGroup{Name: item.Name}
	for _, v := range item.Versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: item.Name + "/" + v.Version, Version: v.Version})
	}
	if len(group.Versions) > 0 {
		group.PreferredVersion = group.Versions[0]
	}
	return group
}

// aggregatedGroups asks the manager for everything it knows; it has no other way to read it than its handler.
func aggregatedGroups(manager aggregated.ResourceManager) (*apidiscoveryv2.APIGroupDiscoveryList, error) {
	request, err := http.NewRequest(http.MethodGet, "/apis", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	answer := &bufferedAnswer{header: http.Header{}}
	manager.ServeHTTP(answer, request)
	list := &apidiscoveryv2.APIGroupDiscoveryList{}
	return list, json.Unmarshal(answer.body.Bytes(), list)
}

// bufferedAnswer keeps an answer in memory.
type bufferedAnswer struct {
	header http.Header
	body   bytes.Buffer
}

func (a *bufferedAnswer) Header() http.Header         { return a.header }
func (a *bufferedAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *bufferedAnswer) WriteHeader(int)             {}

// notFound answers what neither server knows, in the words of upstream's.
type notFound struct{}

func (notFound) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, strings.TrimSpace("404 page not found"), http.StatusNotFound)
}
