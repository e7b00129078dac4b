package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
	servingnetworking "knative.dev/serving/pkg/networking"
	"knative.dev/serving/pkg/reconciler/domainmapping/resources"
	routenames "knative.dev/serving/pkg/reconciler/route/resources/names"
)

// claimFinalizer keeps a DomainMapping until its claim on the domain was given up.
const claimFinalizer = "domainmappings.serving.knative.dev"

func (c *Controller) mappingKind() kind[*v1beta1.DomainMapping] {
	return kind[*v1beta1.DomainMapping]{
		wrote:  c.wrote.mappings,
		copy:   (*v1beta1.DomainMapping).DeepCopy,
		status: func(o *v1beta1.DomainMapping) any { return &o.Status },
		move:   func(from, onto *v1beta1.DomainMapping) { onto.Status = from.Status },
		update: func(ctx context.Context, o *v1beta1.DomainMapping) (*v1beta1.DomainMapping, error) {
			return c.serving.ServingV1beta1().DomainMappings(o.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
		},
		get: func(ctx context.Context, k key) (*v1beta1.DomainMapping, error) {
			return c.serving.ServingV1beta1().DomainMappings(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		},
	}
}

func (c *Controller) reconcileMapping(ctx context.Context, k key) error {
	stored, err := c.listers.mappings.DomainMappings(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		c.wrote.mappings.forget(k)
		return nil
	} else if err != nil {
		return err
	}
	held := slices.Contains(stored.Finalizers, claimFinalizer)
	if stored.DeletionTimestamp != nil {
		if !held {
			return nil
		}
		if err := c.dropClaim(ctx, stored); err != nil {
			return err
		}
		return c.setFinalizers(ctx, stored, slices.DeleteFunc(slices.Clone(stored.Finalizers), func(f string) bool { return f == claimFinalizer }))
	}
	if !held {
		return c.setFinalizers(ctx, stored, append(slices.Clone(stored.Finalizers), claimFinalizer))
	}
	ctx = c.settings().context(ctx)
	return process(ctx, c, c.mappingKind(), stored, c.makeMapping)
}

func (c *Controller) setFinalizers(ctx context.Context, dm *v1beta1.DomainMapping, finalizers []string) error {
	changed := dm.DeepCopy()
	changed.Finalizers = finalizers
	_, err := c.serving.ServingV1beta1().DomainMappings(dm.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	return ignoreGone(err)
}

// makeMapping claims the domain, finds what it stands for and keeps the Ingress that sends one to the other.
func (c *Controller) makeMapping(ctx context.Context, dm *v1beta1.DomainMapping) error {
	if dm.Generation != dm.Status.ObservedGeneration {
		dm.Status.MarkIngressNotConfigured()
	}
	s := c.settings()
	dm.Status.URL = &apis.URL{Scheme: s.network.DefaultExternalScheme, Host: dm.Name}
	dm.Status.Address = &duckv1.Addressable{URL: dm.Status.URL}
	if err := c.claimDomain(ctx, dm); err != nil {
		return reportedError{err}
	}
	tls := c.mappingTLS(dm)
	host, service, err := c.mappingTarget(ctx, dm)
	if err != nil {
		return reportedError{err}
	}
	option, err := servingnetworking.GetHTTPOption(ctx, s.network, dm.Annotations)
	if err != nil {
		return err
	}
	class := networking.GetIngressClass(dm.Annotations)
	if class == "" {
		class = s.network.DefaultIngressClass
	}
	ingress, err := c.mappingIngress(ctx, dm, resources.MakeIngress(dm, service, host, class, option, tls))
	if err != nil {
		return err
	}
	if ingress.Generation != ingress.Status.ObservedGeneration {
		dm.Status.MarkIngressNotConfigured()
	} else {
		dm.Status.PropagateIngressStatus(ingress.Status)
	}
	return nil
}

func (c *Controller) mappingTLS(dm *v1beta1.DomainMapping) []netv1alpha1.IngressTLS {
	switch {
	case dm.Spec.TLS != nil:
		dm.Status.MarkCertificateNotRequired(v1beta1.TLSCertificateProvidedExternally)
		dm.Status.URL.Scheme = "https"
		return []netv1alpha1.IngressTLS{{
			Hosts: []string{dm.Name}, SecretName: dm.Spec.TLS.SecretName, SecretNamespace: dm.Namespace,
		}}
	case c.settings().network.ExternalDomainTLS && !tlsTurnedOff(dm.Annotations):
		dm.Status.MarkCertificateReady(dm.Name)
		dm.Status.URL.Scheme = "https"
	default:
		dm.Status.MarkTLSNotEnabled(v1.ExternalDomainTLSNotEnabledMessage)
	}
	return nil
}

func (c *Controller) mappingIngress(ctx context.Context, dm *v1beta1.DomainMapping, want *netv1alpha1.Ingress) (*netv1alpha1.Ingress, error) {
	client := c.net.NetworkingV1alpha1().Ingresses(want.Namespace)
	ingress, err := c.listers.ingresses.Ingresses(want.Namespace).Get(want.Name)
	if apierrs.IsNotFound(err) {
		ingress, err = client.Create(ctx, want, metav1.CreateOptions{})
		if err != nil {
			c.events.Eventf(dm, corev1.EventTypeWarning, "CreationFailed", "Failed to create Ingress: %v", err)
			return nil, fmt.Errorf("creating ingress %q: %w", want.Name, err)
		}
		c.events.Eventf(dm, corev1.EventTypeNormal, "Created", "Created Ingress %q", ingress.Name)
		return ingress, nil
	} else if err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(ingress.Spec, want.Spec) && equality.Semantic.DeepEqual(ingress.Labels, want.Labels) &&
		equality.Semantic.DeepEqual(ingress.Annotations, want.Annotations) {
		return ingress, nil
	}
	changed := ingress.DeepCopy()
	changed.Spec, changed.Labels, changed.Annotations = want.Spec, want.Labels, want.Annotations
	if ingress, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("updating ingress %q: %w", want.Name, err)
	}
	return ingress, nil
}

// claimDomain makes sure that the namespace of the mapping owns the domain: the first to claim has it.
func (c *Controller) claimDomain(ctx context.Context, dm *v1beta1.DomainMapping) error {
	claim, err := c.listers.claims.Get(dm.Name)
	if apierrs.IsNotFound(err) {
		if !c.settings().network.AutocreateClusterDomainClaims {
			dm.Status.MarkDomainClaimNotOwned()
			return fmt.Errorf("no ClusterDomainClaim found for domain %q (and autocreate-cluster-domain-claims property is not true)", dm.Name)
		}
		claim, err = c.net.NetworkingV1alpha1().ClusterDomainClaims().Create(ctx, resources.MakeDomainClaim(dm), metav1.CreateOptions{})
		if apierrs.IsAlreadyExists(err) {
			claim, err = c.net.NetworkingV1alpha1().ClusterDomainClaims().Get(ctx, dm.Name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("claiming domain %q: %w", dm.Name, err)
	}
	if claim.Spec.Namespace != dm.Namespace {
		dm.Status.MarkDomainClaimNotOwned()
		return fmt.Errorf("namespace %q does not own ClusterDomainClaim for %q", dm.Namespace, dm.Name)
	}
	dm.Status.MarkDomainClaimed()
	return nil
}

// dropClaim gives the domain up, where the claim was made by us and for this namespace.
func (c *Controller) dropClaim(ctx context.Context, dm *v1beta1.DomainMapping) error {
	if !c.settings().network.AutocreateClusterDomainClaims {
		return nil
	}
	claim, err := c.listers.claims.Get(dm.Name)
	if err != nil {
		return ignoreGone(err)
	}
	if claim.Spec.Namespace != dm.Namespace {
		return nil
	}
	return ignoreGone(c.net.NetworkingV1alpha1().ClusterDomainClaims().Delete(ctx, dm.Name, metav1.DeleteOptions{}))
}

// mappingTarget resolves spec.ref to the host and the name of the core Service behind it.
func (c *Controller) mappingTarget(ctx context.Context, dm *v1beta1.DomainMapping) (host, service string, err error) {
	unresolved := func(format string, args ...any) (string, string, error) {
		err := fmt.Errorf(format, args...)
		dm.Status.MarkReferenceNotResolved(err.Error())
		return "", "", fmt.Errorf("resolving reference: %w", err)
	}
	url, err := c.addressOf(ctx, &dm.Spec.Ref, dm.Namespace)
	if err != nil {
		return unresolved("%w", err)
	}
	if strings.TrimSuffix(url.Path, "/") != "" {
		return unresolved("resolved URI %q contains a path", url)
	}
	suffix := ".svc." + network.GetClusterDomainName()
	name, cut := strings.CutSuffix(url.Host, suffix)
	parts := strings.Split(name, ".")
	if !cut || len(parts) != 2 {
		return unresolved("resolved URI %q must be of the form {name}.{namespace}%s", url, suffix)
	}
	if parts[1] != dm.Namespace {
		return unresolved("resolved URI %q must be in same namespace as DomainMapping", url)
	}
	dm.Status.MarkReferenceResolved()
	return url.Host, parts[0], nil
}

// addressOf finds where an addressable object is called.
func (c *Controller) addressOf(ctx context.Context, ref *duckv1.KReference, namespace string) (*apis.URL, error) {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	gvr, _ := meta.UnsafeGuessKindToResource(gvk)
	if gvk.Group == "" && gvk.Kind == "Service" {
		if _, err := c.listers.coreServices.Services(namespace).Get(ref.Name); err != nil {
			return nil, fmt.Errorf("failed to get object %s/%s: %w", namespace, ref.Name, err)
		}
		return &apis.URL{Scheme: "http", Host: network.GetServiceHostname(ref.Name, namespace)}, nil
	}
	if gvk.GroupKind() == v1.Kind("Service") {
		// A service's address is known as soon as its route's: waiting for the status would only cost time.
		if service, err := c.listers.services.Services(namespace).Get(ref.Name); err == nil && service.Status.Address == nil {
			return &apis.URL{Scheme: "http", Host: routenames.K8sServiceFullname(service)}, nil
		}
	}
	obj, err := c.dynamic.Resource(gvr).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to get object %s/%s: %w", namespace, ref.Name, err)
	}
	typed := &duckv1.AddressableType{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, typed); err != nil {
		return nil, fmt.Errorf("%s is not an AddressableType: %w", ref, err)
	}
	address := typed.Status.Address
	if len(typed.Status.Addresses) > 0 {
		address = &typed.Status.Addresses[0]
	}
	switch {
	case address == nil:
		return nil, apierrs.NewBadRequest(fmt.Sprintf("address not set for %s", ref))
	case address.URL == nil:
		return nil, apierrs.NewBadRequest(fmt.Sprintf("URL missing in address of %s", ref))
	case address.URL.Host == "":
		return nil, apierrs.NewBadRequest(fmt.Sprintf("hostname missing in address of %s", ref))
	}
	return address.URL, nil
}
