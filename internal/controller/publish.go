package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// publishAnnotation on a Service, Knative's or a core Service in front of plain pods, lists addresses of this machine on which it
// is reached as well: "127.0.0.1:3000", or "127.0.0.1:15432=5432" where the port inside is another. Without a host it is 127.0.0.1.
const publishAnnotation = "fairlead.dev/publish"

// publishKey is the only name in the queue of published ports: they are always looked at together.
var publishKey = key{Name: "publish"}

// published is an address of this machine that leads to a service.
type published struct {
	address string
	target  uint16 // the port of plain pods
	knative bool
	owner   key
}

// Ports opens addresses that services publish. Some may have been open when the controller before ended; Retain, which is called
// whenever what is published was looked at, lets go of all but those that are published now.
type Ports interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	Retain(addresses []string)
}

// plainPorts are Ports that nobody holds.
type plainPorts struct{}

func (plainPorts) Listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

func (plainPorts) Retain([]string) {}

// publisher holds the listeners of published addresses. The publish queue alone opens and closes them.
type publisher struct {
	c         *Controller
	ctx       context.Context //nolint:containedctx // of Run: listeners outlive the reconciliation that opens them
	accepting sync.WaitGroup
	jobs      sync.WaitGroup // connections to plain pods

	mu     sync.Mutex // guards the fields below
	quiet  bool       // no more connections are accepted
	open   map[published]openPort
	owners map[string]bool   // kind and name of everything that wants to publish
	told   map[string]string // the last trouble of each owner and address
}

// openPort is a listener, and what ends the connections that came by it.
type openPort struct {
	net.Listener
	end context.CancelFunc
}

func newPublisher(c *Controller) *publisher {
	return &publisher{c: c, open: map[published]openPort{}, owners: map[string]bool{}, told: map[string]string{}}
}

// onPublisher has the ports looked at again when a service that publishes some, or did, has changed.
func (c *Controller) onPublisher(kind string, k key, annotations map[string]string) {
	_, wants := annotations[publishAnnotation]
	c.publisher.mu.Lock()
	wants = wants || c.publisher.owners[kind+k.String()]
	c.publisher.mu.Unlock()
	if wants {
		c.publishQueue.add(publishKey)
	}
}

// reconcilePublished opens what is wanted and closes what is not wanted any more.
func (c *Controller) reconcilePublished(ctx context.Context, _ key) error {
	p := c.publisher
	wanted, owners, err := p.wanted()
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.owners = owners
	for one, port := range p.open {
		if _, still := wanted[one]; !still {
			delete(p.open, one)
			_ = port.Close()
			port.end()
		}
	}
	p.mu.Unlock()
	addresses := make([]string, 0, len(wanted))
	for one := range wanted {
		addresses = append(addresses, one.address)
	}
	p.c.conf.Ports.Retain(addresses)
	var failed []error
	for one, object := range wanted {
		failed = append(failed, p.listen(ctx, one, object))
	}
	return errors.Join(failed...)
}

// wanted reads the annotations. Of two services that want the same address the older one has it.
func (p *publisher) wanted() (map[published]runtime.Object, map[string]bool, error) {
	knative, err := p.c.listers.services.List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	core, err := p.c.listers.coreServices.List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	type claim struct {
		published
		object runtime.Object
		since  time.Time
	}
	var claims []claim
	owners := map[string]bool{}
	add := func(object runtime.Object, m metav1.Object, isKnative bool) {
		text, has := m.GetAnnotations()[publishAnnotation]
		if !has || m.GetDeletionTimestamp() != nil {
			return
		}
		k := key{Namespace: m.GetNamespace(), Name: m.GetName()}
		owners[ownerKind(isKnative)+k.String()] = true
		list, err := parsePublish(text)
		if err != nil {
			p.tell(object, published{owner: k, knative: isKnative}, err.Error())
			return
		}
		for _, one := range list {
			one.owner, one.knative = k, isKnative
			claims = append(claims, claim{one, object, m.GetCreationTimestamp().Time})
		}
	}
	for _, s := range knative {
		add(s, s, true)
	}
	for _, s := range core {
		if metav1.GetControllerOf(s) == nil { // that of a route has the annotations of its Knative Service
			add(s, s, false)
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.owner.String(), b.owner.String()))
	})
	wanted, taken := map[published]runtime.Object{}, map[string]published{}
	for _, one := range claims {
		if first, is := taken[one.address]; is && first != one.published {
			p.tell(one.object, one.published, fmt.Sprintf("%s is published by service %s already", one.address, first.owner))
			continue
		}
		taken[one.address] = one.published
		wanted[one.published] = one.object
	}
	return wanted, owners, nil
}

func ownerKind(knative bool) string {
	if knative {
		return "knative/"
	}
	return "core/"
}

// parsePublish reads the annotation.
func parsePublish(text string) ([]published, error) {
	var all []published
	for _, part := range splitList(text) {
		address, target, mapped := strings.Cut(part, "=")
		if !strings.Contains(address, ":") {
			address = net.JoinHostPort(loopback, address)
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no address and port", publishAnnotation, part)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, fmt.Errorf("%s: %q is not an address", publishAnnotation, host)
		}
		if !mapped {
			target = port
		}
		for _, number := range []string{port, target} {
			if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
				return nil, fmt.Errorf("%s: %q is not a port", publishAnnotation, number)
			}
		}
		n, _ := strconv.ParseUint(target, 10, 16) // checked above
		all = append(all, published{address: net.JoinHostPort(host, port), target: uint16(n)})
	}
	return all, nil
}

// listen opens one address, unless it is open. What cannot be opened is told as an event and tried again.
func (p *publisher) listen(ctx context.Context, one published, object runtime.Object) error {
	p.mu.Lock()
	_, is := p.open[one]
	is = is || p.quiet
	p.mu.Unlock()
	if is {
		return nil
	}
	listener, err := p.c.conf.Ports.Listen(ctx, one.address)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		message := fmt.Sprintf("%s cannot be opened: %v", one.address, err)
		if errors.Is(err, syscall.EADDRINUSE) {
			message = one.address + " cannot be opened: another program listens there"
		}
		p.tell(object, one, message)
		return reportedError{errors.New(message)}
	}
	p.tell(object, one, "")
	serving, cancel := context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		cancel()
		return listener.Close()
	}
	p.open[one] = openPort{listener, cancel}
	p.accepting.Go(func() { p.accept(serving, listener, one) })
	return nil
}

// accept takes connections until the listener is closed.
func (p *publisher) accept(ctx context.Context, listener net.Listener, one published) {
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			p.take(ctx, conn, one)
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		default: // no file descriptors left
			p.c.log.Warn("connection to a published port", "address", one.address, "err", err)
			timer := time.NewTimer(50 * time.Millisecond)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// take hands a connection to the gateway, or has it joined with a plain pod.
func (p *publisher) take(ctx context.Context, conn net.Conn, one published) {
	if !one.knative {
		p.jobs.Go(func() { p.join(ctx, conn, one) })
		return
	}
	route, err := p.c.listers.routes.Routes(one.owner.Namespace).Get(one.owner.Name)
	if err != nil || route.Status.URL == nil {
		_ = conn.Close()
		return
	}
	p.c.conf.Gateway.ServePublished(conn, route.Status.URL.Host)
}

// join joins a connection with a plain pod.
func (p *publisher) join(ctx context.Context, conn net.Conn, one published) {
	defer conn.Close() //nolint:errcheck // it has served
	service, pods := p.c.podsBehind(one.owner.Name, one.owner.Namespace)
	if service == nil {
		return
	}
	upstream, err := p.c.dialPods(ctx, service, pods, int32(one.target))
	if err != nil || upstream == nil {
		p.c.log.Debug("connection to a published port", "address", one.address, "err", err)
		return
	}
	join(ctx, conn, upstream)
}

// tell records what is wrong with an address as an event of its service, once; an empty message that it is right now.
func (p *publisher) tell(object runtime.Object, one published, message string) {
	id := ownerKind(one.knative) + one.owner.String() + " " + one.address
	p.mu.Lock()
	before := p.told[id]
	p.told[id] = message
	if message == "" {
		delete(p.told, id)
	}
	p.mu.Unlock()
	switch {
	case message != "" && message != before:
		p.c.log.Warn("a port is not published", "service", one.owner.String(), "reason", message)
		p.c.events.Event(object, corev1.EventTypeWarning, "PublishFailed", message)
	case message == "" && one.address != "":
		p.c.events.Event(object, corev1.EventTypeNormal, "Published", "Reached on "+one.address)
	}
}

// StopAccepting leaves connections to published ports, from now on, to whoever has the sockets open besides, and returns when those
// that were accepted are handed on. What is joined with plain pods goes on until the end of Run.
func (c *Controller) StopAccepting() {
	p := c.publisher
	p.mu.Lock()
	p.quiet = true
	for _, port := range p.open {
		_ = port.Close()
	}
	p.mu.Unlock()
	p.accepting.Wait()
}

// close ends every published port and waits.
func (p *publisher) close() {
	p.c.StopAccepting()
	p.mu.Lock()
	for one, port := range p.open {
		port.end()
		delete(p.open, one)
	}
	p.mu.Unlock()
	p.jobs.Wait()
}
