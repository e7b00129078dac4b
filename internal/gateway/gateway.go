package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a gateway is made of. Only one of HTTP and Listeners is needed.
type Config struct {
	// HTTP and HTTPS are addresses to listen on: HTTP/1.1 and HTTP/2 with prior knowledge, and the same over TLS.
	HTTP, HTTPS []string
	// HTTPListeners and HTTPSListeners are listeners to use besides, for example those inherited from systemd. The gateway closes them.
	HTTPListeners, HTTPSListeners []net.Listener
	// Wake is called when requests begin to wait: for an instance, or for a slot on the instances there are. It must not block.
	Wake func(backend string)
	// OnWake, when set, is told about each wake that a request waited for, after its first byte. It must not block.
	OnWake func(WakeTrace)
	// RequestLog receives the request log lines; nil writes none.
	RequestLog io.Writer
	// DrainTimeout is how long Run waits at the end for requests in flight; 0 means 30 s.
	DrainTimeout time.Duration
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Gateway is the way of requests to instances. It is safe for concurrent use.
type Gateway struct {
	cfg       Config
	log       *slog.Logger
	proxy     *httputil.ReverseProxy
	server    *http.Server
	plain     []net.Listener
	routes    atomic.Pointer[routes]
	inside    *handover
	insideSrv *http.Server

	mu       sync.Mutex // guards the map and the order of Apply; never held together with a backend's lock
	backends map[string]*backend
}

// New checks the configuration and opens the listeners. Connections are accepted from Run on.
func New(cfg Config) (*Gateway, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 30 * time.Second
	}
	g := &Gateway{cfg: cfg, log: cfg.Logger, backends: map[string]*backend{}, inside: newHandover()}
	g.routes.Store(&routes{})
	g.proxy = g.newProxy()
	g.server = g.newServer(nil)
	g.insideSrv = g.newServer(func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, callerKey{}, c.(*insideConn).caller)
	})
	g.plain = cfg.HTTPListeners
	for _, addr := range cfg.HTTP {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			g.closeListeners()
			return nil, fmt.Errorf("listening for HTTP on %s: %w", addr, err)
		}
		g.plain = append(g.plain, l)
	}
	return g, nil
}

func (g *Gateway) closeListeners() {
	for _, l := range g.plain {
		l.Close()
	}
}

// Addrs gives the addresses on which plain HTTP and HTTPS are accepted, in the order of the configuration, inherited ones first.
func (g *Gateway) Addrs() (plain, tls []net.Addr) {
	for _, l := range g.plain {
		plain = append(plain, l.Addr())
	}
	return plain, nil
}

// Run accepts connections until ctx ends, then lets the requests in flight finish for at most Config.DrainTimeout. It returns nil after
// an orderly end.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	failed := make(chan error, len(g.plain)+1)
	var all sync.WaitGroup
	serve := func(srv *http.Server, l net.Listener) {
		all.Go(func() {
			if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving on %s: %w", l.Addr(), err)
			}
		})
	}
	for _, l := range g.plain {
		serve(g.server, l)
	}
	serve(g.insideSrv, g.inside)
	if ready != nil {
		ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, g.shutdown(context.WithoutCancel(ctx)))
	all.Wait()
	return err
}

func (g *Gateway) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DrainTimeout)
	defer cancel()
	var both sync.WaitGroup
	for _, srv := range []*http.Server{g.server, g.insideSrv} {
		both.Go(func() {
			if srv.Shutdown(ctx) != nil {
				g.log.Warn("requests were cut off at the end of the drain time", "drain_timeout", g.cfg.DrainTimeout)
				srv.Close()
			}
		})
	}
	both.Wait()
	return nil
}

// Apply puts a table in force, whole and at once. A table that contradicts itself is refused and the one before stays.
func (g *Gateway) Apply(t Table) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	rs, err := compile(t, g.ensure)
	if err != nil {
		return err
	}
	for _, spec := range t.Backends {
		rs.backends[spec.Name].spec.Store(&spec)
	}
	g.routes.Store(rs)
	for name, b := range g.backends {
		if rs.backends[name] == nil && b.unused() {
			delete(g.backends, name)
		}
	}
	return nil
}

// ensure gives the state of a backend, made when it is first named. g.mu is held.
func (g *Gateway) ensure(name string) *backend {
	b := g.backends[name]
	if b == nil {
		b = newBackend(name, g.cfg.Wake)
		g.backends[name] = b
	}
	return b
}

func (g *Gateway) backend(name string) *backend {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ensure(name)
}

// SetInstances makes the list the ready instances of a backend, which need not be in the table yet. Instances are told apart by ID:
// known ones stay as they are, new ones take requests from now on, those not in the list finish what they have and get no more.
// Waiting requests are let go in the order they came.
func (g *Gateway) SetInstances(backend string, list []Instance) {
	g.backend(backend).setInstances(list, time.Now())
}

// SetFailed answers all requests that wait for an instance with 503 and the reason, which should be one short sentence. Requests
// that come later wait again and call Config.Wake again.
func (g *Gateway) SetFailed(backend, reason string) {
	g.backend(backend).fail(reason)
}

// Drain takes an instance out and waits until its last request has ended, or gives the cause of ctx's end. An unknown instance is
// drained already.
func (g *Gateway) Drain(ctx context.Context, backend, instance string) error {
	select {
	case <-g.backend(backend).drain(instance):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("draining instance %s of %s: %w", instance, backend, context.Cause(ctx))
	}
}

// Sample gives the load of a backend since the last call for it: one consumer, the scaler, at a steady pace.
func (g *Gateway) Sample(backend string) Sample {
	return g.backend(backend).sample(time.Now())
}

// Stats gives the state of a backend now.
func (g *Gateway) Stats(backend string) Stats {
	return g.backend(backend).stats()
}

// HasHost says whether a host, with or without port, is in the table for this caller.
func (g *Gateway) HasHost(host string, c Caller) bool {
	return g.routes.Load().find(host, &c) != nil
}
