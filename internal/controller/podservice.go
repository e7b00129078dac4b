package controller

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// podDialTimeout bounds how long connecting to a plain pod may take.
const podDialTimeout = 5 * time.Second

// serviceOfHost reads the name of a core Service, as a program in the namespace given would spell it: name,
// name.namespace, name.namespace.svc, name.namespace.svc.cluster.local.
func serviceOfHost(host, namespace string) (k key, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	host = strings.TrimSuffix(strings.TrimSuffix(host, ".cluster.local"), ".svc")
	name, space, has := strings.Cut(host, ".")
	if !has {
		space = namespace
	}
	if name == "" || space == "" || strings.Contains(space, ".") {
		return key{}, false
	}
	return key{Namespace: space, Name: name}, true
}

// HasPods says whether a host name means, to an instance, the API or a core Service in front of plain pods. Connections to it are
// for ConnectPods; what speaks HTTP through a revision is the gateway's.
func (c *Controller) HasPods(from *sandbox.Instance, host string) bool {
	namespace := from.Labels()[labelNamespace]
	_, pods := c.podsBehind(host, namespace)
	return len(pods) > 0 || c.meansAPI(host, namespace)
}

// podsBehind finds the core Service of a host name and the plain pods that it selects.
func (c *Controller) podsBehind(host, namespace string) (*corev1.Service, []*corev1.Pod) {
	k, ok := serviceOfHost(host, namespace)
	if !ok {
		return nil, nil
	}
	service, err := c.listers.coreServices.Services(k.Namespace).Get(k.Name)
	if err != nil || len(service.Spec.Selector) == 0 {
		return nil, nil
	}
	pods, err := c.listers.pods.Pods(k.Namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return nil, nil
	}
	var plain []*corev1.Pod
	for _, pod := range pods {
		if !shownByUs(pod) && pod.DeletionTimestamp == nil {
			plain = append(plain, pod)
		}
	}
	return service, plain
}

// ConnectPods takes over a connection that an instance made to the API or to a core Service in front of plain pods, and joins it with
// the API or a ready pod. It returns at once; with no ready pod, or none that listens, the connection is closed.
func (c *Controller) ConnectPods(o sandbox.Outbound) {
	taken := c.pods.connect(func(ctx context.Context) {
		defer o.Conn.Close() //nolint:errcheck // it has served
		if c.meansAPI(o.Host, o.From.Labels()[labelNamespace]) {
			c.connectAPI(ctx, o)
			return
		}
		service, pods := c.podsBehind(o.Host, o.From.Labels()[labelNamespace])
		upstream, err := c.dialPods(ctx, service, pods, int32(o.Addr.Port()))
		if err != nil || upstream == nil {
			c.log.Debug("connection to a pod", "host", o.Host, "port", o.Addr.Port(), "err", err)
			return
		}
		join(ctx, o.Conn, upstream)
	})
	if !taken {
		_ = o.Conn.Close()
	}
}

// dialPods connects to the first ready pod that answers; nil without an error if there is none.
func (c *Controller) dialPods(ctx context.Context, service *corev1.Service, pods []*corev1.Pod, port int32) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, podDialTimeout)
	defer cancel()
	var last error
	for _, pod := range pods {
		m, found := c.boxes.find(pod.Namespace, pod.Name)
		if !found || !m.instance.State().Ready {
			continue
		}
		conn, err := m.instance.Dial(ctx, podPort(service, pod, port))
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// podPort is the port of a pod behind a port of a Service. A headless Service, or one that does not name the port, is
// only a name for its pods: the port is the pod's own.
func podPort(service *corev1.Service, pod *corev1.Pod, port int32) uint16 {
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		return uint16(port) //nolint:gosec // it came from a connection
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		if p.Port != port {
			continue
		}
		if name := p.TargetPort.StrVal; name != "" {
			for _, container := range pod.Spec.Containers {
				for _, own := range container.Ports {
					if own.Name == name {
						return uint16(own.ContainerPort) //nolint:gosec // validated as a port
					}
				}
			}
		}
		if p.TargetPort.IntVal != 0 {
			return uint16(p.TargetPort.IntVal) //nolint:gosec // validated as a port
		}
	}
	return uint16(port) //nolint:gosec // it came from a connection
}

// join copies between two connections until both directions have ended, or ctx has.
func join(ctx context.Context, a, b net.Conn) {
	defer b.Close() //nolint:errcheck // it has served
	stop := context.AfterFunc(ctx, func() {
		_ = a.Close()
		_ = b.Close()
	})
	defer stop()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		half, can := to.(interface{ CloseWrite() error })
		if err != nil || !can || half.CloseWrite() != nil {
			_ = to.Close()
		}
	}
	both.Go(func() { pass(a, b) })
	both.Go(func() { pass(b, a) })
	both.Wait()
}
