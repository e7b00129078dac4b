package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMaxConnections is Config.MaxConnections where it is not set.
const DefaultMaxConnections = 16_384

// Config is what a gateway is made of. Only one of HTTP and Listeners is needed.
type Config struct {
	// HTTP and HTTPS are addresses to listen on: HTTP/1.1 and HTTP/2 with prior knowledge, and the same over TLS.
	HTTP, HTTPS []string
	// HTTPListeners and HTTPSListeners are listeners to use besides, for example those inherited from systemd. The gateway closes them.
	HTTPListeners, HTTPSListeners []net.Listener
	// ReusePort lets another process listen on the same addresses, so that a successor can start before this one has ended.
	ReusePort bool
	// TLS is needed for HTTPS.
	TLS TLS
	// HeaderTimeout is how long a client may take to send the header of a request; 0 means 10 s.
	HeaderTimeout time.Duration
	// MaxConnections from clients at once, over all listeners; further ones are closed at once. 0 means DefaultMaxConnections.
	MaxConnections int
	// Wake is called when requests begin to wait: for an instance, or for a slot on the instances there are. It must not block.
	Wake func(backend string)
	// OnWake, when set, is told about each wake that a request waited for, after its first byte. It must not block.
	OnWake func(WakeTrace)
	// RequestLog receives the request log lines, with the backend and instance they are about ("" if none was reached). The line ends
	// with a newline and is valid during the call only. Nil writes no request log.
	RequestLog func(backend, instance string, line []byte)
	// DrainTimeout is how long Run waits at the end for requests in flight; 0 means 30 s.
	DrainTimeout time.Duration
	// LameDuck is for how long, at the end, a connection without a request goes on being served; every answer asks its client to
	// open a new one. It begins anew with each client that goes by itself. 0 means 500 ms.
	LameDuck time.Duration
	// PassOn, when set, is offered at the end the connections of clients, over HTTP/1.1 without TLS, on which no request is in
	// progress, so that a successor can take them by ServeConn and the client notices nothing: without that, what a client sends in
	// the moment in which an idle connection is closed is lost, as with any server (RFC 9112, section 9.5). The connection is PassOn's
	// if it says yes. It may be called by several goroutines at once.
	PassOn func(net.Conn) bool
	// Outlived, when set, is asked at the end whether the instances go on without this gateway. Then it ends upgraded connections itself,
	// WebSockets by a closing frame that says so (1001); else that is left to the instances, which end too.
	Outlived func() bool
	// Leaving, when set, is called once at the end, when no request from the outside is left: no more connections should be given to
	// ServeInternal after it has returned. Until then the instances' own calls are served, for requests in flight may depend on them.
	Leaving    func()
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Gateway is the way of requests to instances. It is safe for concurrent use.
type Gateway struct {
	cfg        Config
	log        *slog.Logger
	metrics    *metrics
	upgrader   *httputil.ReverseProxy
	buffers    buffers // that bodies are copied through
	server     *http.Server
	plain      []net.Listener
	secure     []net.Listener
	certs      *certificates // nil without HTTPS
	httpsPort  int
	open       atomic.Int64 // connections from clients
	turnedSaid atomic.Int64 // when the log said last that some were turned away, in nanoseconds since 1970
	leaving    atomic.Bool  // the end has begun
	conns      connections  // from clients
	connsIn    connections  // from instances
	lasting    lastingSet   // out of upgrades, in either
	routes     atomic.Pointer[routes]
	inside     *handover
	passed     *handover // connections of clients that another gateway had
	insideSrv  *http.Server

	applying sync.Mutex // held by Apply and Amend from beginning to end; may be held while taking one of the two below
	ledger   *ledger    // guarded by applying

	mu       sync.Mutex // guards the map; a backend's lock may be taken while it is held
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
	if cfg.LameDuck == 0 {
		cfg.LameDuck = 500 * time.Millisecond
	}
	if cfg.HeaderTimeout == 0 {
		cfg.HeaderTimeout = 10 * time.Second
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = DefaultMaxConnections
	}
	g := &Gateway{cfg: cfg, log: cfg.Logger, backends: map[string]*backend{}, inside: newHandover(), passed: newHandover()}
	g.conns.open, g.connsIn.open = map[*conn]struct{}{}, map[*conn]struct{}{}
	g.lasting.open = map[*lasting]struct{}{}
	g.conns.partTime, g.connsIn.partTime, g.lasting.partTime = partTime, partTime, partTime
	g.metrics = newMetrics(cfg.Registerer, g)
	g.routes.Store(&routes{})
	g.ledger = newLedger()
	g.upgrader = g.newUpgrader()
	g.server = g.newServer(nil)
	g.server.ConnState = g.conns.note
	g.insideSrv = g.newServer(func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, callerKey{}, c.(*insideConn).caller)
	})
	g.insideSrv.ConnState = g.connsIn.note
	if err := g.listen(); err != nil {
		return nil, err
	}
	if len(g.secure) > 0 {
		if err := g.openTLS(); err != nil {
			g.closeListeners()
			return nil, err
		}
	}
	return g, nil
}

func (g *Gateway) openTLS() error {
	if g.cfg.TLS.Dir == "" {
		return errors.New("HTTPS is listened for, but there is no directory for certificates")
	}
	if acme := g.cfg.TLS.ACME; acme != nil {
		filled := *acme
		filled.HTTPPort, filled.TLSPort = cmp.Or(acme.HTTPPort, port(g.plain)), cmp.Or(acme.TLSPort, port(g.secure))
		g.cfg.TLS.ACME = &filled
	}
	certs, err := newCertificates(g.cfg.TLS, g.log, func(host string) *route { return g.routes.Load().host(host) })
	if err != nil {
		return err
	}
	g.certs = certs
	g.httpsPort = cmp.Or(g.cfg.TLS.PublicPort, port(g.secure))
	g.server.TLSConfig = g.tlsConfig()
	return nil
}

// port gives the port of the first listener, 0 if there is none.
func port(ls []net.Listener) int {
	if len(ls) > 0 {
		if tcp, ok := ls[0].Addr().(*net.TCPAddr); ok {
			return tcp.Port
		}
	}
	return 0
}

// Run accepts connections until ctx ends, then lets the requests in flight finish for at most Config.DrainTimeout. It returns nil after
// an orderly end.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	failed := make(chan error, len(g.plain)+len(g.secure)+2)
	var outer, inner sync.WaitGroup // those that accept
	serve := func(all *sync.WaitGroup, l net.Listener, serve func(net.Listener) error) {
		all.Go(func() {
			err := serve(l)
			if err != nil && !errors.Is(err, http.ErrServerClosed) && !g.leaving.Load() {
				failed <- fmt.Errorf("serving on %s: %w", l.Addr(), err)
			}
		})
	}
	for _, l := range g.plain {
		serve(&outer, &bounded{l, g, "http"}, g.server.Serve)
	}
	for _, l := range g.secure {
		serve(&outer, &bounded{l, g, "https"}, func(l net.Listener) error { return g.server.ServeTLS(l, "", "") })
	}
	serve(&outer, g.passed, g.server.Serve)
	serve(&inner, g.inside, g.insideSrv.Serve)
	if ready != nil {
		ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	g.shutdown(context.WithoutCancel(ctx), &outer, &inner)
	if g.certs != nil {
		g.certs.close()
	}
	return err
}

// Apply puts a table in force, whole and at once. A table that contradicts itself is refused and the one before stays.
func (g *Gateway) Apply(t Table) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	rs, l, err := compile(t, g.backend)
	if err != nil {
		return err
	}
	for _, spec := range t.Backends {
		l.backends[spec.Name].spec.Store(&spec)
	}
	for b := range l.sent {
		b.setRouted(true) // before the first request comes by the new table
	}
	g.routes.Store(rs)
	g.ledger = l
	g.desert()
	g.keepCertificates(rs)
	return nil
}

// desert tells the backends that a new table sends no traffic to, after the last request has come by the old one, and forgets those
// that nothing is left of.
func (g *Gateway) desert() {
	for _, b := range g.snapshot() {
		if g.ledger.sent[b] == 0 {
			b.setRouted(false)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.backends {
		g.forgetOne(name)
	}
}

// backend gives the state of a backend, made when it is first named.
func (g *Gateway) backend(name string) *backend {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.backends[name]
	if b == nil {
		b = newBackend(name, g.wake)
		g.backends[name] = b
	}
	return b
}

// snapshot gives the backends there are.
func (g *Gateway) snapshot() []*backend {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.backends))
}

// wake passes on that requests wait.
func (g *Gateway) wake(name string) {
	g.metrics.wakes.Inc()
	if g.cfg.Wake != nil {
		g.cfg.Wake(name)
	}
}

// SetInstances makes the list the ready instances of a backend, which need not be in the table yet. Instances are told apart by ID:
// known ones stay as they are, new ones take requests from now on, those not in the list finish what they have and get no more.
// Waiting requests are let go in the order they came.
func (g *Gateway) SetInstances(backend string, list []Instance) {
	for !g.backend(backend).setInstances(list, time.Now()) {
		// It was forgotten in the same moment; the next one is new.
	}
}

// SetFailed answers all requests that wait for an instance with 503 and the reason, which should be one short sentence. Requests
// that come later wait again and call Config.Wake again.
func (g *Gateway) SetFailed(backend, reason string) {
	g.backend(backend).fail(reason)
}

// Drain takes an instance out and waits until its last request has ended, or gives the cause of ctx's end. Upgraded connections are
// not waited for: they go on until the instance ends them. An unknown instance is drained already.
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
