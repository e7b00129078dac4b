package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/watch"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// reachFlags say by which further names, and from where, a service is reached.
type reachFlags struct {
	domains []string
	public  bool
}

func (f *reachFlags) addTo(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.domains, "domain", nil, "further host name of the service, made a DomainMapping; may be given several times")
	flags.BoolVar(&f.public, "public", false, "let other machines reach the gateway, and by it every service of the daemon")
}

// check refuses names that cannot be, before anything is started.
func (f *reachFlags) check() error {
	for _, host := range f.domains {
		if problems := validation.IsDNS1123Subdomain(host); len(problems) > 0 || !strings.Contains(host, ".") {
			return withTry(usagef("--domain %q is no host name in small letters with a dot in it", host), "--domain hello.example.com")
		}
	}
	return nil
}

// openTo makes the daemon that is about to start listen on all interfaces, where --public asks for it.
func (f *reachFlags) openTo(s *daemon.Settings) {
	if !f.public {
		return
	}
	for _, listen := range []*string{&s.GatewayListen, &s.GatewayTLSListen} {
		if host, port, err := net.SplitHostPort(*listen); err == nil && isLoopback(host) {
			*listen = net.JoinHostPort("", port)
		}
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// allowed tells whether the daemon's gateway is as open as --public wants it.
func (f *reachFlags) allowed(info daemon.Info) error {
	host, port, err := net.SplitHostPort(info.Gateway)
	if !f.public || err == nil && !isLoopback(host) {
		return nil
	}
	if err != nil {
		return withTry(errors.New("--public: the daemon runs without its gateway"), "start it without --disable gateway")
	}
	return withTry(fmt.Errorf("--public: the running daemon's gateway listens on %s, which only this machine reaches", info.Gateway),
		"stop the daemon, then: fairlead serve --gateway-listen 0.0.0.0:%s", port)
}

// tellPublic says what --public has opened, and how to get there.
func (f *reachFlags) tellPublic(term *terminal, service *servingv1.Service, info daemon.Info) {
	if !f.public {
		return
	}
	_, port, _ := net.SplitHostPort(info.Gateway)
	_, portTLS, _ := net.SplitHostPort(info.GatewayTLS)
	term.note("Public: whoever reaches this machine reaches every service of this daemon, on the ports %s (HTTP) and %s (HTTPS)", port, portTLS)
	address := "ADDRESS"
	if list := outsideAddresses(); len(list) > 0 {
		address = list[0]
	}
	if service.Status.URL != nil {
		term.note("Public: from elsewhere, curl -H 'Host: %s' http://%s", service.Status.URL.Host, net.JoinHostPort(address, port))
	}
}

// outsideAddresses are those of this machine that others can reach it by.
func outsideAddresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			list = append(list, n.IP.String())
		}
	}
	return list
}

// mappings are the manifests of the further names.
func (f *reachFlags) mappings(service *servingv1.Service) []*v1beta1.DomainMapping {
	list := make([]*v1beta1.DomainMapping, len(f.domains))
	for i, host := range f.domains {
		list[i] = &v1beta1.DomainMapping{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: "DomainMapping"},
			ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: service.Namespace},
			Spec: v1beta1.DomainMappingSpec{Ref: duckv1.KReference{
				APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service", Namespace: service.Namespace, Name: service.Name,
			}},
		}
		if service.UID != "" {
			blocks := true
			list[i].OwnerReferences = []metav1.OwnerReference{{
				APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service", Name: service.Name, UID: service.UID, BlockOwnerDeletion: &blocks,
			}}
		}
	}
	return list
}

// free refuses names that are another service's already.
func (f *reachFlags) free(ctx context.Context, c *client, service *servingv1.Service) error {
	for _, m := range f.mappings(service) {
		has, err := c.serving.ServingV1beta1().DomainMappings(m.Namespace).Get(ctx, m.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for domain %s: %w", m.Name, err)
		}
		if has.Spec.Ref.Kind != m.Spec.Ref.Kind || has.Spec.Ref.Name != m.Spec.Ref.Name {
			return withTry(fmt.Errorf("domain %s belongs to %s %s already", m.Name, has.Spec.Ref.Kind, has.Spec.Ref.Name),
				"another --domain, or fairlead delete domainmapping %s", m.Name)
		}
	}
	return nil
}

// publish gives a service that is ready its further names, prints their URLs and says what is public.
func (f *reachFlags) publish(ctx context.Context, term *terminal, s *session, service *servingv1.Service, noWait bool) error {
	for _, m := range f.mappings(service) {
		_, err := s.serving.ServingV1beta1().DomainMappings(m.Namespace).Create(ctx, m, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("give service %s the domain %s: %w", service.Name, m.Name, err)
		}
		if noWait {
			continue
		}
		ready, err := s.waitMapping(ctx, m)
		if err != nil {
			return err
		}
		shown := publicURL(ready.Status.URL, s.info.Gateway)
		fmt.Fprintln(term.out, shown)
		if _, port, err := net.SplitHostPort(s.info.Gateway); err == nil && !strings.HasSuffix(m.Name, ".localhost") {
			term.note("%s has to lead to this machine, by DNS or /etc/hosts; until it does: curl --resolve %s:%s:127.0.0.1 %s", m.Name, m.Name, port, shown)
		}
	}
	f.tellPublic(term, service, s.info)
	return nil
}

// mappingPatience is how long a further name may take; nothing has to be built or started for it.
const mappingPatience = 30 * time.Second

// waitMapping watches a mapping until it is ready, or not for good.
func (c *client) waitMapping(ctx context.Context, m *v1beta1.DomainMapping) (*v1beta1.DomainMapping, error) {
	waiting, cancel := context.WithTimeout(ctx, mappingPatience)
	defer cancel()
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", m.Name).String()}
	changes, err := c.serving.ServingV1beta1().DomainMappings(m.Namespace).Watch(waiting, options)
	if err != nil {
		return nil, fmt.Errorf("wait for domain %s: %w", m.Name, err)
	}
	defer changes.Stop()
	for event := range changes.ResultChan() {
		now, isMapping := event.Object.(*v1beta1.DomainMapping)
		if !isMapping || event.Type == watch.Deleted || now.Status.ObservedGeneration < now.Generation {
			continue
		}
		switch ready := now.Status.GetCondition(apis.ConditionReady); {
		case ready != nil && ready.Status == corev1.ConditionTrue:
			return now, nil
		case ready != nil && ready.Status == corev1.ConditionFalse:
			return nil, withTry(fmt.Errorf("domain %s is not ready: %s: %s", m.Name, ready.Reason, ready.Message), "fairlead describe domainmapping %s", m.Name)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, withTry(fmt.Errorf("domain %s is not ready after %v", m.Name, mappingPatience), "fairlead describe domainmapping %s", m.Name)
}
