package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	servingnetworking "knative.dev/serving/pkg/networking"
)

// The core Service that says where the gateway listens has the name that clients of Knative look for.
const (
	gatewayServiceNamespace = "istio-system"
	gatewayServiceName      = "istio-ingressgateway"
)

// activatorService shows the gateway in the place of Knative's activator: the Service of a revision leads to the same address while
// requests may have to wait.
func (c *Controller) activatorService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: servingnetworking.ActivatorServiceName, Namespace: systemNamespace, Labels: map[string]string{"app": "activator"},
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{
			Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt(c.conf.GatewayPort),
		}}},
	}
}

// publishGateway writes the core Service of the gateway: ports 80 and 443, the node ports those it really listens on.
func (c *Controller) publishGateway(ctx context.Context) error {
	_, err := c.kube.CoreV1().Namespaces().Get(ctx, gatewayServiceNamespace, metav1.GetOptions{})
	if apierrs.IsNotFound(err) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gatewayServiceNamespace}}
		_, err = c.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	}
	if err != nil && !apierrs.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", gatewayServiceNamespace, err)
	}
	client := c.kube.CoreV1().Services(gatewayServiceNamespace)
	want := c.gatewayService()
	service, err := client.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrs.IsNotFound(err) {
		service, err = client.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("core service of the gateway: %w", err)
	}
	changed := service.DeepCopy()
	changed.Spec.Type, changed.Spec.Ports = want.Spec.Type, want.Spec.Ports
	if !equality.Semantic.DeepEqual(changed.Spec, service.Spec) {
		if service, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("core service of the gateway: %w", err)
		}
	}
	if !equality.Semantic.DeepEqual(service.Status, want.Status) {
		service.Status = want.Status
		if _, err = client.UpdateStatus(ctx, service, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("core service of the gateway: %w", err)
		}
	}
	return c.viewService(ctx, c.activatorService(), c.throughGateway())
}

func (c *Controller) gatewayService() *corev1.Service {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: gatewayServiceName, Namespace: gatewayServiceNamespace, Labels: map[string]string{"istio": "ingressgateway"},
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	add := func(name string, port int32, real int) {
		if real == 0 {
			return
		}
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: name, Protocol: corev1.ProtocolTCP, Port: port,
			TargetPort: intstr.FromInt(real), NodePort: int32(real), //nolint:gosec // a port
		})
	}
	add("http2", 80, c.conf.GatewayPort)
	add("https", 443, c.conf.GatewayTLSPort)
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: c.conf.GatewayAddress}}
	return service
}
