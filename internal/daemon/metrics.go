package daemon

import (
	"io"
	"net/http"
	"net/http/pprof"
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

// newMetricsHandler serves /metrics and /healthz, and Go's profiles where they are asked for.
func newMetricsHandler(registry prometheus.Gatherer, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(withAPI(registry), promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}
