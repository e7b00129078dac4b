package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry makes the registry that every component adds its metrics to.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// metricsServer serves /metrics and /healthz.
type metricsServer struct {
	listener net.Listener
	server   *http.Server
}

func newMetricsServer(listener net.Listener, registry *prometheus.Registry) *metricsServer {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return &metricsServer{listener, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}}
}

func (m *metricsServer) run(ctx context.Context, ready func()) error {
	served := make(chan error, 1)
	go func() { served <- m.server.Serve(m.listener) }()
	ready()
	select {
	case err := <-served:
		return fmt.Errorf("serve /metrics: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := m.server.Shutdown(ctx)
	<-served
	if errors.Is(err, context.DeadlineExceeded) {
		return m.server.Close()
	}
	return err
}
