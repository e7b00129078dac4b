package daemon

import (
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// newRegistry makes the registry that every component adds its metrics to.
func newRegistry() *catalog {
	registry := &catalog{Registry: prometheus.NewRegistry()}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// withAPI adds the metrics of the API server, which k8s.io/apiserver keeps in a registry of its own, to a registry.
func withAPI(own prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := own.Gather()
		if err != nil {
			return families, err
		}
		more, err := legacyregistry.DefaultGatherer.Gather()
		for _, f := range more {
			// The rest there is the runtime's and the process's own, and reported already.
			if strings.HasPrefix(f.GetName(), "apiserver_") {
				families = append(families, f)
			}
		}
		return families, err
	})
}

// newMetricsHandler serves /metrics and /healthz.
func newMetricsHandler(registry prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(withAPI(registry), promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}
