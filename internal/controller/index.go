package controller

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
)

// Names of the indexes. What a reconciler looks for is found by one, so that reconciling one object costs the same however many are defined.
const (
	// byRoute finds revisions and configurations by a route their annotation names, and core Services by the route they are labelled with.
	byRoute = "route"
	// byTarget finds routes by a configuration or revision they name, and domain mappings by the object they point at.
	byTarget = "target"
	// byConfiguration finds revisions by the configuration they are labelled with.
	byConfiguration = "configuration"
	// byRevision finds Pods by the revision they are labelled with, and Ingresses by the revisions they split traffic between.
	byRevision = "revision"
	// byData finds revisions and Pods by the ConfigMaps, Secrets and claims they refer to.
	byData = "data"
)

// index adds the indexes. It has to be done before the informers start.
func (s *informerSet) index() error {
	routed := cache.Indexers{byRoute: func(obj any) ([]string, error) {
		m, ok := obj.(metav1.Object)
		if !ok {
			return nil, nil
		}
		var keys []string
		for _, route := range listAnnotation(m.GetAnnotations(), serving.RoutesAnnotationKey) {
			keys = append(keys, indexKey(m.GetNamespace(), route))
		}
		return keys, nil
	}}
	targets := cache.Indexers{byTarget: func(obj any) ([]string, error) {
		route, ok := obj.(*v1.Route)
		if !ok {
			return nil, nil
		}
		var keys []string
		for _, list := range [][]v1.TrafficTarget{route.Spec.Traffic, route.Status.Traffic} {
			for i := range list {
				keys = append(keys, indexKey(route.Namespace, "configuration/"+list[i].ConfigurationName),
					indexKey(route.Namespace, "revision/"+list[i].RevisionName))
			}
		}
		return keys, nil
	}}
	references := cache.Indexers{byTarget: func(obj any) ([]string, error) {
		mapping, ok := obj.(*v1beta1.DomainMapping)
		if !ok {
			return nil, nil
		}
		return []string{indexKey(mapping.Namespace, mapping.Spec.Ref.Name)}, nil
	}}
	return errors.Join(
		s.revisions.AddIndexers(routed), s.configurations.AddIndexers(routed), s.routes.AddIndexers(targets), s.mappings.AddIndexers(references),
		s.revisions.AddIndexers(cache.Indexers{byConfiguration: labelled(serving.ConfigurationLabelKey)}),
		s.coreServices.AddIndexers(cache.Indexers{byRoute: labelled(serving.RouteLabelKey)}),
		s.pods.AddIndexers(cache.Indexers{byRevision: labelled(serving.RevisionLabelKey)}),
		s.revisions.AddIndexers(cache.Indexers{byData: func(obj any) ([]string, error) {
			if rev, ok := obj.(*v1.Revision); ok {
				return dataKeys(rev.Namespace, &rev.Spec.PodSpec), nil
			}
			return nil, nil
		}}),
		s.pods.AddIndexers(cache.Indexers{byData: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok {
				return dataKeys(pod.Namespace, &pod.Spec), nil
			}
			return nil, nil
		}}),
		s.ingresses.AddIndexers(cache.Indexers{byRevision: splitRevisions}),
	)
}

// dataKeys are the keys of what a pod refers to.
func dataKeys(namespace string, pod *corev1.PodSpec) []string {
	var keys []string
	for name := range referred(pod) {
		keys = append(keys, indexKey(namespace, name))
	}
	return keys
}

// splitRevisions are the revisions that an Ingress splits traffic between.
func splitRevisions(obj any) ([]string, error) {
	ing, ok := obj.(*netv1alpha1.Ingress)
	if !ok {
		return nil, nil
	}
	var keys []string
	for i := range ing.Spec.Rules {
		if ing.Spec.Rules[i].HTTP == nil {
			continue
		}
		for _, path := range ing.Spec.Rules[i].HTTP.Paths {
			for _, split := range path.Splits {
				keys = append(keys, indexKey(split.ServiceNamespace, split.ServiceName))
			}
		}
	}
	return keys, nil
}

func indexKey(namespace, name string) string { return namespace + "/" + name }

// labelled indexes objects by the value of a label.
func labelled(label string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		m, ok := obj.(metav1.Object)
		if !ok || m.GetLabels()[label] == "" {
			return nil, nil
		}
		return []string{indexKey(m.GetNamespace(), m.GetLabels()[label])}, nil
	}
}

// indexed gives what an index finds for a name, in no particular order. The slice is the caller's, the objects are the informer's.
func indexed[T any](informer cache.SharedIndexInformer, index, namespace, name string) ([]T, error) {
	found, err := informer.GetIndexer().ByIndex(index, indexKey(namespace, name))
	list := make([]T, 0, len(found))
	for _, obj := range found {
		if one, ok := obj.(T); ok {
			list = append(list, one)
		}
	}
	return list, err
}

// routeServiceLister finds the core Services of one route by the index. Upstream's code asks by a selector, for which every Service would be looked at.
type routeServiceLister struct {
	corelisters.ServiceLister
	informer cache.SharedIndexInformer
}

func (l routeServiceLister) Services(namespace string) corelisters.ServiceNamespaceLister {
	return routeServices{l.ServiceLister.Services(namespace), l.informer, namespace}
}

type routeServices struct {
	corelisters.ServiceNamespaceLister
	informer  cache.SharedIndexInformer
	namespace string
}

func (l routeServices) List(selector labels.Selector) ([]*corev1.Service, error) {
	route, ok := selector.RequiresExactMatch(serving.RouteLabelKey)
	if !ok || route == "" {
		return l.ServiceNamespaceLister.List(selector)
	}
	list, err := indexed[*corev1.Service](l.informer, byRoute, l.namespace, route)
	return slices.DeleteFunc(list, func(s *corev1.Service) bool { return !selector.Matches(labels.Set(s.Labels)) }), err
}
