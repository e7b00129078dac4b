package object

import (
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Client is a connection to the API with what is needed to find kinds by name.
type Client struct {
	discovery  discovery.CachedDiscoveryInterface
	dynamic    dynamic.Interface
	rest       rest.Interface
	mapper     meta.RESTMapper
	categories restmapper.CategoryExpander
	// warn gets one line for each name that the server understands but advises against.
	warn io.Writer
}

// New makes a client of the API that config names. Remarks that are no result go to warn.
func New(config *rest.Config, warn io.Writer) (*Client, error) {
	plain, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API: %w", err)
	}
	raw := rest.CopyConfig(config)
	raw.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	untyped, err := rest.UnversionedRESTClientFor(raw)
	if err != nil {
		return nil, fmt.Errorf("client for the API: %w", err)
	}
	cached := memory.NewMemCacheClient(plain)
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	return &Client{
		discovery:  cached,
		dynamic:    dyn,
		rest:       untyped,
		mapper:     restmapper.NewShortcutExpander(deferred, cached, func(s string) { fmt.Fprintln(warn, "Warning:", s) }),
		categories: restmapper.NewDiscoveryCategoryExpander(cached),
		warn:       warn,
	}, nil
}

// resource gives the dynamic client of a kind, within the namespace where the kind has namespaces. An empty
// namespace is all of them.
func (c *Client) resource(mapping *meta.RESTMapping, namespace string) dynamic.ResourceInterface {
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace)
	}
	return c.dynamic.Resource(mapping.Resource)
}

// Label is how kubectl names an object in a message: service.serving.knative.dev/hello, pod/x.
func Label(mapping *meta.RESTMapping, name string) string {
	return kindLabel(mapping) + "/" + name
}

func kindLabel(mapping *meta.RESTMapping) string {
	kind := lower(mapping.GroupVersionKind.Kind)
	if group := mapping.GroupVersionKind.Group; group != "" {
		return kind + "." + group
	}
	return kind
}

// Selection says which objects of a kind are meant, besides their names.
type Selection struct {
	// Namespace is ignored for kinds without namespaces; All means every namespace.
	Namespace string
	All       bool
	// Labels and Fields are selectors as on the command line; empty selects everything.
	Labels, Fields string
}

// check refuses selectors that mean nothing, and names together with what selects among all objects, which would be ignored.
func (s Selection) check(targets []Target) error {
	if _, err := labels.Parse(s.Labels); err != nil {
		return &UsageError{fmt.Sprintf("--selector %q: %v", s.Labels, err), "-l app=web, -l 'app in (web, api)' or -l '!app'"}
	}
	if _, err := fields.ParseSelector(s.Fields); err != nil {
		return &UsageError{fmt.Sprintf("--field-selector %q: %v", s.Fields, err), "--field-selector metadata.name=hello"}
	}
	for _, t := range targets {
		switch {
		case len(t.Names) == 0:
		case s.Labels != "" || s.Fields != "":
			return &UsageError{"names and a selector say two things", "leave out one of them"}
		case s.All && namespaced(t.Mapping):
			return &UsageError{"an object of a namespace cannot be named in all of them", "-n NAMESPACE in place of --all-namespaces"}
		}
	}
	return nil
}

func (s Selection) namespace() string {
	if s.All {
		return metav1.NamespaceAll
	}
	return s.Namespace
}

func (s Selection) options() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: s.Labels, FieldSelector: s.Fields}
}
