package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/controller"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// lateWake forwards to the controller, which is made after the gateway that calls it.
type lateWake struct {
	target atomic.Pointer[controller.Controller]
}

func (l *lateWake) wake(backend string) {
	if c := l.target.Load(); c != nil {
		c.Wake(backend)
	}
}

// hasPods says whether a name stands for plain pods inside, as a database's does.
func (l *lateWake) hasPods(from *sandbox.Instance, host string) bool {
	c := l.target.Load()
	return c != nil && c.HasPods(from, host)
}

// outbound shares what instances call between the gateway, which comes first, and plain pods.
func (l *lateWake) outbound(g *gateway.Gateway) (internal func(*sandbox.Instance, string) bool, take func(sandbox.Outbound)) {
	served, give := controller.Internal(g), controller.Outbound(g)
	internal = func(from *sandbox.Instance, host string) bool { return served(from, host) || l.hasPods(from, host) }
	take = func(o sandbox.Outbound) {
		if c := l.target.Load(); c != nil && !served(o.From, o.Host) && c.HasPods(o.From, o.Host) {
			c.ConnectPods(o)
			return
		}
		give(o)
	}
	return internal, take
}

// stopAccepting leaves connections to published ports, from now on, to the next daemon.
func (l *lateWake) stopAccepting() {
	if c := l.target.Load(); c != nil {
		c.StopAccepting()
	}
}

func (l *lateWake) woke(trace gateway.WakeTrace) {
	if c := l.target.Load(); c != nil {
		c.Woke(trace)
	}
}

// wireGateway opens the listeners of the services.
func (w *wiring) wireGateway() error {
	if w.settings.disabled("gateway") {
		return nil
	}
	plain, err := w.listen.take("gateway", w.settings.GatewayListen)
	if err != nil {
		return err
	}
	secure, err := w.listen.take("gateway-tls", w.settings.GatewayTLSListen)
	if err != nil {
		return err
	}
	account, err := w.settings.ACME.account()
	if err != nil {
		return err
	}
	w.addresses.Gateway, w.addresses.GatewayTLS = plain.Addr().String(), secure.Addr().String()
	if w.requests, err = newRequestLog(w.path("requests"), w.logger.With("component", "requests"), w.registry); err != nil {
		return err
	}
	w.parts.add("request log", shortDrain, w.requests.run)
	most, err := w.connections()
	if err != nil {
		return err
	}
	w.gateway, err = gateway.New(gateway.Config{
		HTTPListeners: []net.Listener{plain}, HTTPSListeners: []net.Listener{secure},
		TLS: gateway.TLS{Dir: w.path("gateway"), ACME: account}, Wake: w.waker.wake, OnWake: w.waker.woke,
		MaxConnections: most, RequestLog: w.requests.take, DrainTimeout: w.settings.Drain, Leaving: w.leaving, PassOn: w.passOn, Outlived: w.keep.Load,
		Logger: w.logger.With("component", "gateway"), Registerer: w.registry,
	})
	return err
}

// connections is how many of clients the gateway takes at the same time.
func (w *wiring) connections() (int, error) {
	files, err := fileLimit()
	if err != nil {
		return 0, err
	}
	most, err := w.settings.maxConnections(files)
	if err == nil && w.settings.MaxConnections == 0 && most < gateway.DefaultMaxConnections {
		w.logger.Info("the gateway takes fewer connections at the same time than it could with more open files", "component", "gateway",
			"connections", most, "files", files, "try", moreFiles)
	}
	return most, err
}

// leaving lets the next daemon take what instances call from now on.
func (w *wiring) leaving() {
	if w.sandboxes != nil {
		w.sandboxes.StopAccepting()
	}
}

// EnterUsers is to be called before New: for an ordinary user it runs this program again as root of a user namespace, unless
// the settings leave the sandbox out. See sandbox.EnterUsers.
func EnterUsers(s *Settings) error {
	if s.disabled("sandbox") {
		return nil
	}
	if err := sandbox.EnterUsers(filepath.Join(s.Home, "sandbox")); err != nil {
		return advise(fmt.Errorf("running instances as an ordinary user: %w", err),
			"docs/howto/rootless.md, sudo fairlead serve, or --disable sandbox for the API and the registry alone")
	}
	return nil
}

// wireSandbox opens what makes instances.
func (w *wiring) wireSandbox() (err error) {
	if w.settings.disabled("sandbox") {
		return nil
	}
	config := sandbox.Config{
		Dir: w.path("sandbox"), Keep: w.settings.KeepInstances, UserNamespace: sandbox.UserNamespace(w.settings.UserNamespaces),
		StopGrace: max(w.settings.Drain, time.Millisecond), Logger: w.logger.With("component", "sandbox"), Registerer: w.registry,
	}
	if w.settings.Runtime != "auto" {
		config.Runtime = w.settings.Runtime
	}
	if w.gateway != nil {
		config.Internal, config.Outbound = w.waker.outbound(w.gateway)
		config.Domains = []string{"cluster.local", "svc", w.settings.Domain}
	}
	if os.Geteuid() != 0 {
		return advise(errors.New("making instances needs root, or a user namespace: see EnterUsers"),
			"sudo fairlead serve, or --disable sandbox for the API and the registry alone")
	}
	if w.sandboxes, err = sandbox.New(config); err != nil {
		return advise(err, "fairlead doctor; on Debian and Ubuntu: apt-get install crun")
	}
	// What is killed at the end of the drain time still has to be taken away: the more, the longer.
	w.parts.add("sandbox", w.settings.Drain+3*shortDrain, func(ctx context.Context, ready func()) error {
		if w.gateway != nil {
			// It is over by then, or was never started: calls of instances that wait for it must not hold the end up.
			defer context.AfterFunc(ctx, w.gateway.Close)()
		}
		return w.sandboxes.Run(ctx, ready)
	})
	return nil
}

// wireController opens what makes it so. Without gateway or sandbox there is nothing it could do.
func (w *wiring) wireController() error {
	if !w.settings.serves() {
		w.logger.Warn("runs without its controller: objects are stored and nothing is run")
		return nil
	}
	host, port := hostPort(w.addresses.Gateway)
	_, tlsPort := hostPort(w.addresses.GatewayTLS)
	apiHost, apiPort := hostPort(w.addresses.API)
	c, err := controller.New(controller.Config{
		APIAddress: net.JoinHostPort(apiHost, strconv.Itoa(apiPort)), APICertificate: w.server.CA(),
		REST: w.server.Loopback(), Images: w.images, Sandboxes: w.sandboxes, Gateway: w.gateway, Domain: w.settings.Domain,
		GatewayAddress: host, GatewayPort: port, GatewayTLSPort: tlsPort, VolumeDir: w.path("volumes"), Spares: w.settings.Spares, Ports: w.listen.published,
		Quotas: w.quotas,
		Logger: w.logger.With("component", "controller"), Registerer: w.registry,
	})
	if err != nil {
		return err
	}
	w.waker.target.Store(c)
	w.views.target.Store(c)
	w.parts.add("controller", w.settings.Drain+shortDrain, func(ctx context.Context, ready func()) error {
		defer context.AfterFunc(ctx, w.gateway.Close)() // as for the sandbox: what came by a published port may wait for it
		return c.Run(ctx, func() {
			w.live.set(instances{c, w.requests})
			ready()
		})
	}, "rules", "images", "gateway", "sandbox")
	return nil
}

// hostPort splits the address of a listener; an address that stands for every interface becomes the loopback address.
func hostPort(address string) (host string, port int) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", 0
	}
	if tcp.IP.IsUnspecified() {
		return "127.0.0.1", tcp.Port
	}
	return tcp.IP.String(), tcp.Port
}
