package gateway

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// classes are the values of the label class.
var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// metrics of the gateway. Labels hold names of services in the table and words of closed sets, nothing that a client chooses.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	retries  prometheus.Counter
	wakes    prometheus.Counter
	wake     *prometheus.HistogramVec
	conns    *prometheus.GaugeVec
	turned   prometheus.Counter
}

// series are the counters of one caller of one backend, by class.
type series [len(classes)]prometheus.Counter

func newMetrics(reg prometheus.Registerer, g *Gateway) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_gateway_requests_total",
			Help: "Requests that a backend was chosen for, by caller and class of the status that the caller got.",
		}, []string{"namespace", "service", "revision", "caller", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_gateway_request_duration_seconds",
			Help:    "Time from the arrival of a request to the end of its answer, waiting included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"namespace", "service", "revision"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_gateway_refused_requests_total",
			Help: "Requests that were answered without choosing a backend, by reason.",
		}, []string{"reason"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_gateway_retries_total",
			Help: "Requests that were sent again because an instance could not be reached.",
		}),
		wakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_gateway_wakes_total",
			Help: "Times that a waiting room began to fill and the scaler was called.",
		}),
		wake: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_gateway_wake_duration_seconds",
			Help:    "Time from the first waiting request to the first byte of its answer, by whether a spare was there.",
			Buckets: []float64{.002, .005, .0075, .01, .015, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"spare"}),
		conns: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_gateway_connections",
			Help: "Open connections from clients, by where they arrived.",
		}, []string{"listener"}),
		turned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_gateway_turned_away_connections_total",
			Help: "Connections that were closed at once because as many as allowed were open.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.duration, m.refused, m.retries, m.wakes, m.wake, m.conns, m.turned, &loads{g: g})
	}
	return m
}

// labels of a backend: namespace, service and revision.
func (b *Backend) labels() []string {
	namespace := b.Namespace
	if namespace == "" {
		namespace, _, _ = strings.Cut(b.Name, "/")
	}
	return []string{namespace, b.Service, b.revision()}
}

// done counts an exchange that has ended.
func (m *metrics) done(x *exchange, now time.Time) {
	caller := x.caller.name()
	s, ok := x.backend.series.Load(caller)
	if !ok {
		s, _ = x.backend.series.LoadOrStore(caller, m.newSeries(x.spec, caller))
	}
	class := 0
	if x.status >= 100 && x.status < 600 {
		class = x.status / 100
	}
	s.(*series)[class].Inc()
	d := x.backend.duration.Load()
	if d == nil {
		o := m.duration.WithLabelValues(x.spec.labels()...)
		d = &o
		x.backend.duration.Store(d)
	}
	(*d).Observe(now.Sub(x.arrived).Seconds())
}

func (m *metrics) newSeries(b *Backend, caller string) *series {
	var s series
	for n, class := range classes {
		s[n] = m.requests.WithLabelValues(append(b.labels(), caller, class)...)
	}
	return &s
}

// woken counts a wake that was answered.
func (m *metrics) woken(t WakeTrace) {
	if t.Asked.IsZero() {
		return
	}
	spare := "false"
	if t.Spare {
		spare = "true"
	}
	m.wake.WithLabelValues(spare).Observe(t.FirstByte.Sub(t.Asked).Seconds())
}

// forget drops what was counted for a backend that is no more.
func (m *metrics) forget(b *backend) {
	spec := b.spec.Load()
	if spec == nil {
		return
	}
	b.series.Range(func(caller, _ any) bool {
		for _, class := range classes {
			m.requests.DeleteLabelValues(append(spec.labels(), caller.(string), class)...)
		}
		return true
	})
	m.duration.DeleteLabelValues(spec.labels()...)
}

// loads gives the requests there are now, counted when they are asked for.
type loads struct{ g *Gateway }

var (
	inflightDesc = prometheus.NewDesc("fairlead_gateway_inflight_requests", "Requests that instances have now.", []string{"namespace", "service", "revision"}, nil)
	waitingDesc  = prometheus.NewDesc("fairlead_gateway_waiting_requests", "Requests that wait for an instance now.", []string{"namespace", "service", "revision"}, nil)
	readyDesc    = prometheus.NewDesc("fairlead_gateway_ready_instances", "Instances that take requests now.", []string{"namespace", "service", "revision"}, nil)
)

func (*loads) Describe(c chan<- *prometheus.Desc) {
	c <- inflightDesc
	c <- waitingDesc
	c <- readyDesc
}

func (l *loads) Collect(c chan<- prometheus.Metric) {
	for _, b := range l.g.snapshot() {
		spec := b.spec.Load()
		if spec == nil {
			continue
		}
		inflight, waiting, ready := b.now()
		for d, v := range map[*prometheus.Desc]int{inflightDesc: inflight, waitingDesc: waiting, readyDesc: ready} {
			c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), spec.labels()...)
		}
	}
}
