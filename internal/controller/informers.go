package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	netclient "knative.dev/networking/pkg/client/clientset/versioned"
	netinformers "knative.dev/networking/pkg/client/informers/externalversions"
	netlisters "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"
	servingbetalisters "knative.dev/serving/pkg/client/listers/serving/v1beta1"
)

// collectEvery is how often configurations are looked at for revisions that have become too old.
const collectEvery = 10 * time.Minute

// syncPoll is how often it is looked whether the informers have read everything.
const syncPoll = 2 * time.Millisecond

// informerSet is every informer of the controller.
type informerSet struct {
	services, configurations, routes, revisions, mappings cache.SharedIndexInformer
	autoscalers, ingresses, claims, serverless            cache.SharedIndexInformer
	coreServices, endpoints, slices, deployments          cache.SharedIndexInformer
	pods, configMaps, secrets, volumeClaims, accounts     cache.SharedIndexInformer
}

// listers read what the informers hold. What they give belongs to the informers and is never changed.
type listers struct {
	services       servinglisters.ServiceLister
	configurations servinglisters.ConfigurationLister
	routes         servinglisters.RouteLister
	revisions      servinglisters.RevisionLister
	mappings       servingbetalisters.DomainMappingLister
	autoscalers    autoscalinglisters.PodAutoscalerLister
	ingresses      netlisters.IngressLister
	claims         netlisters.ClusterDomainClaimLister
	serverless     netlisters.ServerlessServiceLister
	coreServices   corelisters.ServiceLister
	endpoints      corelisters.EndpointsLister
	slices         discoverylisters.EndpointSliceLister
	deployments    appslisters.DeploymentLister
	pods           corelisters.PodLister
	configMaps     corelisters.ConfigMapLister
	secrets        corelisters.SecretLister
	volumeClaims   corelisters.PersistentVolumeClaimLister
	accounts       corelisters.ServiceAccountLister
}

func newInformers(kube kubernetes.Interface, serve servingclient.Interface, net netclient.Interface) (*informerSet, *listers) {
	core := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(slim))
	knative := servinginformers.NewSharedInformerFactoryWithOptions(serve, 0, servinginformers.WithTransform(slim),
		servinginformers.WithCustomResyncConfig(map[metav1.Object]time.Duration{&v1.Configuration{}: collectEvery}))
	network := netinformers.NewSharedInformerFactoryWithOptions(net, 0, netinformers.WithTransform(slim))
	s, n, k := knative.Serving().V1(), network.Networking().V1alpha1(), core.Core().V1()
	set := &informerSet{
		services: s.Services().Informer(), configurations: s.Configurations().Informer(),
		routes: s.Routes().Informer(), revisions: s.Revisions().Informer(),
		mappings:    knative.Serving().V1beta1().DomainMappings().Informer(),
		autoscalers: knative.Autoscaling().V1alpha1().PodAutoscalers().Informer(),
		ingresses:   n.Ingresses().Informer(), claims: n.ClusterDomainClaims().Informer(), serverless: n.ServerlessServices().Informer(),
		coreServices: k.Services().Informer(), endpoints: k.Endpoints().Informer(),
		slices: core.Discovery().V1().EndpointSlices().Informer(), deployments: core.Apps().V1().Deployments().Informer(),
		pods: k.Pods().Informer(), configMaps: k.ConfigMaps().Informer(), secrets: k.Secrets().Informer(),
		volumeClaims: k.PersistentVolumeClaims().Informer(), accounts: k.ServiceAccounts().Informer(),
	}
	return set, &listers{
		services: s.Services().Lister(), configurations: s.Configurations().Lister(),
		routes: s.Routes().Lister(), revisions: s.Revisions().Lister(),
		mappings:    knative.Serving().V1beta1().DomainMappings().Lister(),
		autoscalers: knative.Autoscaling().V1alpha1().PodAutoscalers().Lister(),
		ingresses:   n.Ingresses().Lister(), claims: n.ClusterDomainClaims().Lister(), serverless: n.ServerlessServices().Lister(),
		coreServices: k.Services().Lister(), endpoints: k.Endpoints().Lister(),
		slices: core.Discovery().V1().EndpointSlices().Lister(), deployments: core.Apps().V1().Deployments().Lister(),
		pods: k.Pods().Lister(), configMaps: k.ConfigMaps().Lister(), secrets: k.Secrets().Lister(),
		volumeClaims: k.PersistentVolumeClaims().Lister(), accounts: k.ServiceAccounts().Lister(),
	}
}

func (s *informerSet) all() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{
		s.services, s.configurations, s.routes, s.revisions, s.mappings, s.autoscalers, s.ingresses, s.claims, s.serverless,
		s.coreServices, s.endpoints, s.slices, s.deployments, s.pods, s.configMaps, s.secrets, s.volumeClaims, s.accounts,
	}
}

func (s *informerSet) start(ctx context.Context, running *sync.WaitGroup) {
	for _, i := range s.all() {
		running.Go(func() { i.RunWithContext(ctx) })
	}
}

func (s *informerSet) wait(ctx context.Context) error {
	// Upstream's wait would look only every 100 ms.
	synced := func(context.Context) (bool, error) {
		return !slices.ContainsFunc(s.all(), func(i cache.SharedIndexInformer) bool { return !i.HasSynced() }), nil
	}
	if wait.PollUntilContextCancel(ctx, syncPoll, true, synced) != nil {
		return errors.New("reading the objects that exist: stopped before it was done")
	}
	return nil
}

// slim drops what no reconciler reads before an object is kept in memory.
func slim(obj any) (any, error) {
	if m, ok := obj.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	if m, ok := obj.(*corev1.ConfigMap); ok {
		delete(m.Annotations, corev1.LastAppliedConfigAnnotation)
	}
	return obj, nil
}
