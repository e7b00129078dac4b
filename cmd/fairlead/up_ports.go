package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/project"
)

// portPatience is how long the daemon may take to open a published port.
const portPatience = 10 * time.Second

// checkPorts says before anything is made which ports cannot be published because somebody has them. It knows only this machine.
func (u *upper) checkPorts(ctx context.Context, p *project.Project) error {
	for i := range p.Workloads {
		w := &p.Workloads[i]
		w.SetPublished(u.besideGateway(w))
		if u.print {
			continue
		}
		before, had, err := u.publishedBefore(ctx, w)
		if err != nil {
			return err
		}
		if had && len(w.Published) == 0 {
			// An apply without the only annotation it had would take away those of others too, as the one that says who made it.
			w.Unpublish()
		}
		if !u.session.here() {
			continue
		}
		for _, port := range w.Published {
			if !slices.Contains(before, fmt.Sprintf("%s=%d", port.Address, port.Target)) {
				if err := portFree(ctx, port); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// besideGateway leaves out the port on which the gateway serves the service anyway, by its name.
func (u *upper) besideGateway(w *project.Workload) []project.Port {
	if w.Service == nil {
		return w.Published
	}
	_, gateway, err := net.SplitHostPort(u.session.info.Gateway)
	return slices.DeleteFunc(slices.Clone(w.Published), func(p project.Port) bool {
		_, port, splitErr := net.SplitHostPort(p.Address)
		if err != nil || splitErr != nil || port != gateway {
			return false
		}
		u.term.note("note: %s is the port of the gateway, which has the service by its name: see the URL below", p.Place)
		return true
	})
}

// publishedBefore is what a workload that is there already publishes, and whether it says so at all.
func (u *upper) publishedBefore(ctx context.Context, w *project.Workload) (ports []string, has bool, err error) {
	var found metav1.Object
	if w.Service != nil {
		found, err = u.session.serving.ServingV1().Services(u.target.namespace).Get(ctx, w.Name, metav1.GetOptions{})
	} else {
		found, err = u.session.kube.CoreV1().Services(u.target.namespace).Get(ctx, w.Name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for %s: %w", w.Name, err)
	}
	text, has := found.GetAnnotations()[project.PublishAnnotation]
	return strings.Split(text, ","), has, nil
}

// portFree tries whether a port can be opened. What only the daemon may try is left to it.
func portFree(ctx context.Context, port project.Port) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", port.Address)
	switch {
	case err == nil:
		return listener.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return portTaken(port, "another program listens on "+port.Address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return portTaken(port, "this machine has no such address: "+port.Address)
	}
	return nil
}

func portTaken(port project.Port, why string) error {
	_, number, _ := net.SplitHostPort(port.Address)
	return withTry(fmt.Errorf("%s: %s", port.Place, why), "another published port, or see who has it: ss -ltnp 'sport = :%s'", number)
}

// awaitPorts waits until the daemon has opened what a workload publishes.
func (u *upper) awaitPorts(ctx context.Context, w *project.Workload) error {
	if !u.session.here() {
		return nil
	}
	for _, port := range w.Published {
		until, cancel := context.WithTimeout(ctx, portPatience)
		opened := awaitDial(until, port.Address)
		cancel()
		if opened || ctx.Err() != nil {
			continue
		}
		return portTaken(port, u.publishTrouble(ctx, w.Name, port))
	}
	return nil
}

// awaitDial tries until an address takes connections.
func awaitDial(ctx context.Context, address string) bool {
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", reachable(address))
		if err == nil {
			_ = conn.Close()
			return true
		}
		pause(ctx, 50*time.Millisecond)
	}
	return false
}

// reachable is an address that can be dialled where one stands for every interface.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = map[bool]string{true: "127.0.0.1", false: "::1"}[ip.Is4()]
	}
	return net.JoinHostPort(host, port)
}

// publishTrouble is what the daemon said about a port that it did not open.
func (u *upper) publishTrouble(ctx context.Context, name string, port project.Port) string {
	events, err := u.session.kube.CoreV1().Events(u.target.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "reason=PublishFailed,involvedObject.name=" + name,
	})
	if err == nil {
		for _, e := range slices.Backward(events.Items) {
			if e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, port.Address) {
				return e.Message
			}
		}
	}
	return fmt.Sprintf("the daemon has not opened %s after %v", port.Address, portPatience)
}

// here tells whether the daemon is on this machine.
func (s *session) here() bool {
	u, err := url.Parse(s.config.Host)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// publishedAddresses are the published ports of a workload as people use them.
func publishedAddresses(w *project.Workload) []string {
	var all []string
	for _, port := range w.Published {
		if w.Service != nil {
			all = append(all, "http://"+reachable(port.Address))
		} else {
			all = append(all, port.Address)
		}
	}
	return all
}
