package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	endpointmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Server is the API server.
type Server struct {
	cfg        Config
	listener   net.Listener
	loopback   *memoryListener
	identity   identity
	adminToken string
	loopToken  string
	auditLog   *rotatingFile // nil: none
}

// New checks the configuration, makes or reads certificate and tokens, listens and writes the kubeconfig. It does not
// touch the store and serves nothing.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("api: make folder %s: %w", cfg.Dir, err)
	}
	quietUpstream(cfg.Logger)
	s := &Server{cfg: cfg, loopback: newMemoryListener(), loopToken: newToken()}
	if s.adminToken, err = loadToken(filepath.Join(cfg.Dir, "admin.token")); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("api: listen address %q is not host:port: %w", cfg.Listen, err)
	}
	if cfg.Insecure && !isLoopback(host) {
		return nil, fmt.Errorf("api: plain HTTP is served on loopback only, not on %q", host)
	}
	if s.identity, err = loadIdentity(cfg.Dir, certificateNames(host, cfg.Names), time.Now()); err != nil {
		return nil, err
	}
	if s.auditLog, err = cfg.Audit.open(); err != nil {
		return nil, err
	}
	if s.listener = cfg.Listener; s.listener == nil {
		s.listener, err = net.Listen("tcp", cfg.Listen)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api: listen on %s (try another address with --api-listen): %w", cfg.Listen, err), s.closeAudit())
	}
	if err := writeKubeconfig(cfg.Kubeconfig, s.AdminConfig()); err != nil {
		return nil, errors.Join(err, s.listener.Close(), s.closeAudit())
	}
	return s, nil
}

func (s *Server) closeAudit() error {
	if s.auditLog == nil {
		return nil
	}
	return s.auditLog.Close()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// certificateNames are the names by which clients may call the server.
func certificateNames(host string, more []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, host)
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the address for clients on this machine.
func (s *Server) URL() string { return publicURL(s.listener.Addr(), s.cfg.Insecure) }

// CA is the certificate, in PEM, that clients should trust; nil where plain HTTP is served.
func (s *Server) CA() []byte {
	if s.cfg.Insecure {
		return nil
	}
	return s.identity.certificate
}

// AdminConfig is an administrator's kubeconfig, the one that New has written.
func (s *Server) AdminConfig() *clientcmdapi.Config {
	return kubeconfig(s.URL(), s.adminToken, s.CA())
}

// Loopback is a client configuration over a connection inside the process, as a user who may do everything. Requests
// wait until Run serves them; copy it to change it.
func (s *Server) Loopback() *rest.Config { return s.loopback.config(s.loopToken) }

// Run opens the store, serves until ctx ends and drains. It calls ready once, when every definition is served.
func (s *Server) Run(ctx context.Context, ready func()) error {
	defer s.listener.Close()
	defer s.loopback.Close()
	defer s.closeAudit()
	endpointmetrics.Register() // counts and times of requests, in the registry that all of k8s.io shares
	chain, err := s.build()
	if err != nil {
		return err
	}
	defer chain.close()
	if err := chain.quotas.Begin(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return servePlain(ctx, s.loopback, chain.core.Handler) })
	group.Go(func() error { return servePlain(ctx, chain.streams.listener, chain.streams) })
	if s.cfg.Insecure {
		group.Go(func() error { return servePlain(ctx, s.listener, s.trusting(chain.core.Handler)) })
	}
	if err := chain.inform(ctx); err != nil {
		return errors.Join(ignoreEnd(ctx, err), ignoreEnd(ctx, group.Wait()))
	}
	group.Go(func() error {
		if err := chain.prepared.RunWithContext(ctx); err != nil {
			return fmt.Errorf("api: serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		if err := chain.load(ctx); err != nil {
			return ignoreEnd(ctx, err)
		}
		keeper, err := chain.keeper()
		if err != nil {
			return err
		}
		ready()
		group.Go(func() error { settle(ctx); return nil })
		group.Go(func() error { chain.quotas.Run(ctx, keeper.Client()); return nil })
		return keeper.Run(ctx, func() {})
	})
	return group.Wait()
}

// settleAfter is how long after ready the schemas of the definitions are being built.
const settleAfter = 3 * time.Second

// settle gives memory back when the start is over, which makes twice the garbage of what stays.
func settle(ctx context.Context) {
	select {
	case <-time.After(settleAfter):
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
}

// ignoreEnd drops an error that only says that the server was stopped.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// trusting lets whoever comes without a token be the administrator, because clients send none over plain HTTP. Web pages are
// kept out: they send an origin, or a host name that was made to lead here.
func (s *Server) trusting(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if r.Header.Get("Authorization") == "" && r.Header.Get("Origin") == "" && isLoopback(host) {
			r.Header.Set("Authorization", "Bearer "+s.adminToken)
		}
		handler.ServeHTTP(w, r)
	})
}

// servePlain serves HTTP without TLS until ctx ends. Requests still running then end with their connections, because watches
// never end by themselves.
func servePlain(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("api: serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	err := server.Close()
	<-done
	return err
}
