package sandbox

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	create, wake, thaw prometheus.Histogram
	instances          *prometheus.GaugeVec
	exits              *prometheus.CounterVec
	outbound           *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairlead_sandbox_" + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		create: histogram("create_seconds", "Time to make a spare."),
		wake:   histogram("wake_seconds", "Time from the start of a spare to its first readiness."),
		thaw:   histogram("thaw_seconds", "Time to thaw a frozen instance."),
		instances: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_sandbox_instances", Help: "Instances by phase."}, []string{"phase"}),
		exits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_sandbox_exits_total", Help: "Ended containers by reason."}, []string{"reason"}),
		outbound: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_sandbox_outbound_total", Help: "Connections and names asked for by instances, by what became of them."}, []string{"kind", "result"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.create, m.wake, m.thaw, m.instances, m.exits, m.outbound} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("registering sandbox metrics: %w", err)
		}
	}
	return m, nil
}

func since(h prometheus.Histogram, start time.Time) { h.Observe(time.Since(start).Seconds()) }
