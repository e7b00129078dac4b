package controller

import "github.com/prometheus/client_golang/prometheus"

// metrics of the controller.
type metrics struct {
	wakes  prometheus.Counter
	ends   *prometheus.CounterVec
	spares *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, scalers *scalerSet, pool *sparePool) *metrics {
	m := &metrics{
		wakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_controller_wakes_total", Help: "Times a revision was asked to wake or to grow at once.",
		}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_controller_container_ends_total", Help: "Containers that ended by themselves, by reason.",
		}, []string{"reason"}),
		spares: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_controller_spare_decisions_total",
			Help: "Spares that were granted to a revision, or evicted for one that was used more recently.",
		}, []string{"decision"}),
	}
	if r != nil {
		r.MustRegister(m.wakes, m.ends, m.spares, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_controller_spares_limit", Help: "Revisions at zero that may keep a spare at the same time.",
		}, func() float64 { return float64(max(pool.most, 0)) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_controller_spares_waiting", Help: "Revisions at zero that have no spare yet, or none because of the limit.",
		}, func() float64 {
			_, waiting := pool.numbers()
			return float64(waiting)
		}), &instanceCounts{
			scalers: scalers,
			desc: prometheus.NewDesc("fairlead_controller_instances", "Instances of revisions by phase.",
				[]string{"phase"}, nil),
			revisions: prometheus.NewDesc("fairlead_controller_revisions", "Revisions that have a scaler.", nil, nil),
		})
	}
	return m
}

// instanceCounts counts when it is asked.
type instanceCounts struct {
	scalers         *scalerSet
	desc, revisions *prometheus.Desc
}

// Describe says what Collect gives.
func (i *instanceCounts) Describe(to chan<- *prometheus.Desc) {
	to <- i.desc
	to <- i.revisions
}

// Collect counts the instances of all scalers as they were last told.
func (i *instanceCounts) Collect(to chan<- prometheus.Metric) {
	counts := map[string]int{"ready": 0, "notready": 0, "spare": 0, "frozen": 0, "leaving": 0}
	revisions := 0
	i.scalers.byName.Range(func(_, value any) bool {
		revisions++
		state := value.(*scaler).seen.Load() //nolint:forcetypeassert // only scalers are stored
		if state == nil {
			return true
		}
		counts["spare"] += state.spares
		for n := range state.pods {
			one := &state.pods[n]
			switch {
			case one.leaving:
				counts["leaving"]++
			case one.frozen:
				counts["frozen"]++
			case one.state.Ready:
				counts["ready"]++
			default:
				counts["notready"]++
			}
		}
		return true
	})
	for phase, n := range counts {
		to <- prometheus.MustNewConstMetric(i.desc, prometheus.GaugeValue, float64(n), phase)
	}
	to <- prometheus.MustNewConstMetric(i.revisions, prometheus.GaugeValue, float64(revisions))
}
