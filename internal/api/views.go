package api

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// Views has objects written that only show what runs, for those who ask for them: Deployments, PodAutoscalers, HorizontalPodAutoscalers,
// ServerlessServices, core Services, Endpoints and EndpointSlices.
type Views interface {
	// Show is called before a request for such objects is passed on, whatever it does with them, unless this process makes it. It returns when
	// what is asked for has been written, as far as that can be, or when ctx ends. The function it gives is called when the request has been
	// answered, that of a watch when the watch ends.
	Show(ctx context.Context, query ViewQuery) (done func())
}

// ViewQuery says which objects a request is about.
type ViewQuery struct {
	// Namespace is empty for all namespaces.
	Namespace string
	// Name is the name of one object; empty means all that Selector finds, which is never nil then.
	Name     string
	Selector labels.Selector
}

// isView says whether objects of a resource may be views. Others of the same resource may be there as well.
func isView(resource schema.GroupResource) bool {
	switch resource.Group {
	case "":
		return resource.Resource == "services" || resource.Resource == "endpoints"
	case "apps":
		return resource.Resource == "deployments"
	case "autoscaling":
		return resource.Resource == "horizontalpodautoscalers"
	case "discovery.k8s.io":
		return resource.Resource == "endpointslices"
	case "autoscaling.internal.knative.dev":
		return resource.Resource == "podautoscalers"
	case "networking.internal.knative.dev":
		return resource.Resource == "serverlessservices"
	}
	return false
}

// showViews has the views written that a request is about, when it has been let in.
func (c *chain) showViews(config *genericapiserver.RecommendedConfig) {
	views := c.server.cfg.Views
	if views == nil {
		return
	}
	config.BuildHandlerChainFunc = func(handler http.Handler, conf *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(showing(views, handler), conf)
	}
}

func showing(views Views, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if query, ok := viewQuery(r.Context()); ok {
			defer views.Show(r.Context(), query)()
		}
		handler.ServeHTTP(w, r)
	})
}

// viewQuery gives what a request asks for, where that may be views and somebody else than this process asks.
func viewQuery(ctx context.Context) (ViewQuery, bool) {
	info, ok := request.RequestInfoFrom(ctx)
	// What is to be created has no name yet, and is nobody's view.
	if !ok || !info.IsResourceRequest || info.Verb == "create" && info.Subresource == "" || !isView(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}) {
		return ViewQuery{}, false
	}
	if who, ok := request.UserFrom(ctx); !ok || access.ByDaemon(who) {
		return ViewQuery{}, false
	}
	selector, err := labels.Parse(info.LabelSelector)
	if err != nil {
		selector = labels.Everything() // the request is refused for it
	}
	return ViewQuery{Namespace: info.Namespace, Name: info.Name, Selector: selector}, true
}
