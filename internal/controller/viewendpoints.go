package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
)

// viewService keeps one of a revision's core Services with its Endpoints and EndpointSlice.
func (c *Controller) viewService(ctx context.Context, want *corev1.Service, state *scaleState) error {
	service, err := c.listers.coreServices.Services(want.Namespace).Get(want.Name)
	if apierrs.IsNotFound(err) {
		service, err = c.kube.CoreV1().Services(want.Namespace).Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("core service %q: %w", want.Name, err)
	}
	if err := c.viewEndpoints(ctx, service, state); err != nil {
		return err
	}
	return c.viewSlice(ctx, service, state)
}

func (c *Controller) viewEndpoints(ctx context.Context, service *corev1.Service, state *scaleState) error {
	client := c.kube.CoreV1().Endpoints(service.Namespace)
	want := &corev1.Endpoints{ObjectMeta: dependent(service, service.Name)}
	var subset corev1.EndpointSubset
	for i := range state.pods {
		one := &state.pods[i]
		if one.leaving || one.frozen {
			continue
		}
		address := corev1.EndpointAddress{IP: one.ip, NodeName: ptr.String(nodeName), TargetRef: podOf(one, service.Namespace)}
		if one.state.Ready {
			subset.Addresses = append(subset.Addresses, address)
		} else {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
		}
	}
	if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
		for _, port := range service.Spec.Ports {
			subset.Ports = append(subset.Ports, corev1.EndpointPort{Name: port.Name, Port: targetPort(port), Protocol: corev1.ProtocolTCP, AppProtocol: port.AppProtocol})
		}
		want.Subsets = []corev1.EndpointSubset{subset}
	}
	endpoints, err := c.listers.endpoints.Endpoints(service.Namespace).Get(service.Name)
	if apierrs.IsNotFound(err) {
		_, err = client.Create(ctx, want, metav1.CreateOptions{})
	} else if err == nil && !equality.Semantic.DeepEqual(endpoints.Subsets, want.Subsets) {
		changed := endpoints.DeepCopy()
		changed.Subsets = want.Subsets
		_, err = client.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("endpoints %q: %w", service.Name, err)
	}
	return nil
}

func (c *Controller) viewSlice(ctx context.Context, service *corev1.Service, state *scaleState) error {
	client := c.kube.DiscoveryV1().EndpointSlices(service.Namespace)
	want := &discoveryv1.EndpointSlice{ObjectMeta: dependent(service, service.Name), AddressType: discoveryv1.AddressTypeIPv4}
	want.Labels = kmeta.UnionMaps(want.Labels, map[string]string{
		discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: "fairlead.dev",
	})
	for i := range state.pods {
		one := &state.pods[i]
		if one.frozen {
			continue
		}
		ready := one.state.Ready && !one.leaving
		want.Endpoints = append(want.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{one.ip},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.Bool(ready), Serving: ptr.Bool(one.state.Ready), Terminating: ptr.Bool(one.leaving)},
			NodeName:   ptr.String(nodeName),
			TargetRef:  podOf(one, service.Namespace),
		})
	}
	tcp := corev1.ProtocolTCP
	for _, port := range service.Spec.Ports {
		want.Ports = append(want.Ports, discoveryv1.EndpointPort{Name: ptr.String(port.Name), Port: ptr.Int32(targetPort(port)), Protocol: &tcp, AppProtocol: port.AppProtocol})
	}
	slice, err := c.listers.slices.EndpointSlices(service.Namespace).Get(service.Name)
	if apierrs.IsNotFound(err) {
		_, err = client.Create(ctx, want, metav1.CreateOptions{})
	} else if err == nil && !equality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) {
		changed := slice.DeepCopy()
		changed.Endpoints = want.Endpoints
		_, err = client.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("endpointslice %q: %w", service.Name, err)
	}
	return nil
}

// throughGateway is what a Service shows that leads to the gateway and not to instances: its address, of no Pod.
func (c *Controller) throughGateway() *scaleState {
	gateway := podState{identity: identity{ip: c.conf.GatewayAddress}}
	gateway.state.Ready = true
	return &scaleState{pods: []podState{gateway}}
}

// podOf refers to the Pod that shows an instance; the gateway has none.
func podOf(one *podState, namespace string) *corev1.ObjectReference {
	if one.name == "" {
		return nil
	}
	return &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: one.name}
}

// dependent is the metadata of an object that goes with a core Service.
func dependent(service *corev1.Service, name string) metav1.ObjectMeta {
	owner := metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))
	return metav1.ObjectMeta{
		Name: name, Namespace: service.Namespace, Labels: kmeta.CopyMap(service.Labels), OwnerReferences: []metav1.OwnerReference{*owner},
	}
}

func targetPort(p corev1.ServicePort) int32 {
	if n := p.TargetPort.IntVal; n != 0 {
		return n
	}
	return p.Port
}
