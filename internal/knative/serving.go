package knative

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	cachingv1alpha1 "knative.dev/caching/pkg/apis/caching/v1alpha1"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
)

type columns = []apiextensionsv1.CustomResourceColumnDefinition

// kinds are all kinds, in the order in which they are created.
func kinds() []kind {
	return slices.Concat(servingKinds(), internalKinds(), eventingKinds(), messagingKinds(), sourceKinds())
}

func servingKinds() []kind {
	const group = "serving.knative.dev"
	ready := conditionColumns("'")
	url := column("URL", ".status.url")
	created, latest := column("LatestCreated", ".status.latestCreatedRevisionName"), column("LatestReady", ".status.latestReadyRevisionName")
	everywhere := []string{"all", "knative", "serving"}
	return []kind{
		{
			group: group, name: "Service", plural: "services", shortNames: []string{"kservice", "ksvc"}, categories: everywhere,
			product: productServing, labels: []string{addressable, podspecable},
			versions: []version{{name: "v1", object: &servingv1.Service{}, columns: append(columns{url, created, latest}, ready...)}},
		},
		{
			group: group, name: "Configuration", plural: "configurations", shortNames: []string{"config", "cfg"}, categories: everywhere,
			product: productServing, labels: []string{podspecable},
			versions: []version{{name: "v1", object: &servingv1.Configuration{}, columns: append(columns{created, latest}, ready...)}},
		},
		{
			group: group, name: "Revision", plural: "revisions", shortNames: []string{"rev"}, categories: everywhere, product: productServing,
			versions: []version{{name: "v1", object: &servingv1.Revision{}, columns: revisionColumns()}},
		},
		{
			group: group, name: "Route", plural: "routes", shortNames: []string{"rt"}, categories: everywhere,
			product: productServing, labels: []string{addressable},
			versions: []version{{name: "v1", object: &servingv1.Route{}, columns: append(columns{url}, ready...)}},
		},
		{
			group: group, name: "DomainMapping", plural: "domainmappings", shortNames: []string{"dm"}, categories: everywhere, product: productServing,
			versions: []version{{name: "v1beta1", object: &servingv1beta1.DomainMapping{}, columns: append(columns{url}, ready...)}},
		},
	}
}

func revisionColumns() columns {
	out := columns{
		column("Config Name", `.metadata.labels['serving\.knative\.dev/configuration']`),
		column("Generation", `.metadata.labels['serving\.knative\.dev/configurationGeneration']`),
	}
	out = append(out, conditionColumns("'")...)
	return append(out, intColumn("Actual Replicas", ".status.actualReplicas"), intColumn("Desired Replicas", ".status.desiredReplicas"))
}

// internalKinds are the ones Serving makes for itself; people only read them.
func internalKinds() []kind {
	const autoscaling, networking, caching = "autoscaling.internal.knative.dev", "networking.internal.knative.dev", "caching.internal.knative.dev"
	ready := conditionColumns("'")
	scaling, net := []string{"knative-internal", "autoscaling"}, []string{"knative-internal", "networking"}
	return []kind{
		{
			group: autoscaling, name: "PodAutoscaler", plural: "podautoscalers", shortNames: []string{"kpa", "pa"}, categories: scaling, product: productServing,
			versions: []version{{name: "v1alpha1", object: &autoscalingv1alpha1.PodAutoscaler{},
				columns: append(columns{intColumn("DesiredScale", ".status.desiredScale"), intColumn("ActualScale", ".status.actualScale")}, ready...)}},
		},
		{
			group: autoscaling, name: "Metric", plural: "metrics", categories: scaling, product: productServing,
			versions: []version{{name: "v1alpha1", object: &autoscalingv1alpha1.Metric{}, columns: ready}},
		},
		{
			group: networking, name: "Ingress", plural: "ingresses", shortNames: []string{"kingress", "king"}, categories: net, product: productServing,
			versions: []version{{name: "v1alpha1", object: &networkingv1alpha1.Ingress{}, columns: ready}},
		},
		{
			group: networking, name: "ServerlessService", plural: "serverlessservices", shortNames: []string{"sks"}, categories: net, product: productServing,
			versions: []version{{name: "v1alpha1", object: &networkingv1alpha1.ServerlessService{}, columns: append(serverlessServiceColumns(), ready...)}},
		},
		{
			group: networking, name: "Certificate", plural: "certificates", shortNames: []string{"kcert"}, categories: net, product: productServing,
			versions: []version{{name: "v1alpha1", object: &networkingv1alpha1.Certificate{}, columns: conditionColumns(`"`)}},
		},
		{
			group: networking, name: "ClusterDomainClaim", plural: "clusterdomainclaims", shortNames: []string{"cdc"}, categories: net, cluster: true, product: productServing,
			versions: []version{{name: "v1alpha1", object: &networkingv1alpha1.ClusterDomainClaim{}}},
		},
		{
			group: caching, name: "Image", plural: "images", categories: []string{"knative-internal", "caching"}, product: productServing,
			versions: []version{{name: "v1alpha1", object: &cachingv1alpha1.Image{}, columns: columns{column("Image", ".spec.image")}}},
		},
	}
}

func serverlessServiceColumns() columns {
	return columns{
		column("Mode", ".spec.mode"), intColumn("Activators", ".spec.numActivators"),
		column("ServiceName", ".status.serviceName"), column("PrivateServiceName", ".status.privateServiceName"),
	}
}
