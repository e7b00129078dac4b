package project

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// PublishAnnotation on a service lists the addresses of this machine that lead to it.
const PublishAnnotation = "fairlead.dev/publish"

// Port is an address of this machine that leads to a workload.
type Port struct {
	// Address is host:port, Target the port inside.
	Address string
	Target  int32
	// Place is what asks for it, as "compose.yaml:5: services.web.ports.0".
	Place string
}

// annotation is the value of PublishAnnotation for some ports.
func annotation(ports []Port) string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = fmt.Sprintf("%s=%d", p.Address, p.Target)
	}
	return strings.Join(all, ",")
}

// SetPublished changes which ports of a workload are published.
func (w *Workload) SetPublished(ports []Port) {
	w.Published = ports
	target := w.publisher()
	if target == nil {
		return
	}
	annotations := maps.Clone(target.GetAnnotations())
	delete(annotations, PublishAnnotation)
	switch {
	case len(ports) > 0 && annotations == nil:
		annotations = map[string]string{PublishAnnotation: annotation(ports)}
	case len(ports) > 0:
		annotations[PublishAnnotation] = annotation(ports)
	case len(annotations) == 0:
		annotations = nil // an empty map would be applied, and take away those of others
	}
	target.SetAnnotations(annotations)
}

// Unpublish says expressly that no port is published.
func (w *Workload) Unpublish() {
	w.Published = nil
	if target := w.publisher(); target != nil {
		target.SetAnnotations(map[string]string{PublishAnnotation: ""})
	}
}

// published are the addresses of this machine that a service asks for: those of the loopback interface where it names none, so that
// a database is not open to the network by leaving something out. Only the port of an HTTP service leads anywhere.
func (c *composer) published(s types.ServiceConfig, http bool, port int32) ([]Port, error) {
	var all []Port
	for i, p := range s.Ports {
		path := []string{"ports", strconv.Itoa(i)}
		if p.Published == "" || p.Protocol == "udp" {
			continue
		}
		number, err := strconv.ParseUint(p.Published, 10, 16)
		switch {
		case err != nil || number == 0:
			c.note(s.Name, path, "is not published: %q is not one port", p.Published)
			continue
		case http && int64(p.Target) != int64(port):
			c.note(s.Name, path, "is not published: a service that scales has one port, %d", port)
			continue
		}
		host := cmp.Or(p.HostIP, "127.0.0.1")
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, fmt.Errorf("ports.%d: %q is not an address of this machine", i, p.HostIP)
		}
		one := Port{
			Address: net.JoinHostPort(host, p.Published), Target: int32(p.Target), //nolint:gosec // Compose checks it
			Place: fmt.Sprintf("%s:%d: services.%s.ports.%d", c.File, c.document.line("services", s.Name, "ports", strconv.Itoa(i)), s.Name, i),
		}
		for _, other := range c.taken {
			if overlap(one.Address, other.Address) {
				return nil, fmt.Errorf("ports.%d publishes %s, which %s does already", i, one.Address, strings.TrimPrefix(other.Place, c.File+":"))
			}
		}
		if p.HostIP == "" && !c.loopback {
			c.loopback = true
			c.note(s.Name, path, "is opened for this machine only, as every published port; \"0.0.0.0:%s:%d\" opens it to the network", p.Published, p.Target)
		}
		c.taken = append(c.taken, one)
		all = append(all, one)
	}
	return all, nil
}

// overlap tells whether two addresses cannot both be listened on.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	every := func(host string) bool { return host == "0.0.0.0" || host == "::" }
	return portA == portB && (hostA == hostB || every(hostA) || every(hostB))
}
