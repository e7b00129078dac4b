package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
)

func newTopCommand(term *terminal) *cobra.Command {
	var (
		target   clientFlags
		all      bool
		watch    bool
		interval time.Duration
		output   *outputFormat
	)
	cmd := &cobra.Command{
		Use:   "top [SERVICE]",
		Short: "Show the load of each revision",
		Long: "Top measures for a second, by the daemon's metrics, how many requests each revision answers, how many fail\n" +
			"(status 5xx), how long they take, and how many it has and waits with now. A revision shows once it has had\n" +
			"a request or an instance.",
		Args: atMostArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < 100*time.Millisecond {
				return withTry(usagef("--interval %v is too short to measure", interval), "--interval 1s")
			}
			c, err := target.dial(cmd)
			if err != nil {
				return err
			}
			pick := func(k loadKey) bool {
				return (all || k.namespace == target.namespace) && (len(args) == 0 || k.service == args[0])
			}
			if len(args) == 1 && !all {
				if _, err := c.getService(cmd.Context(), target.namespace, args[0]); err != nil {
					return err
				}
			}
			return c.top(cmd.Context(), term, topOptions{interval, watch, pick, output})
		},
	}
	target.addTo(cmd.Flags())
	cmd.ValidArgsFunction = serviceNames(&target)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "services of all namespaces")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "measure again and again until Ctrl-C")
	output = addOutputFlag(cmd, "json", "yaml")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how long to measure")
	return cmd
}

// topOptions say what top measures and how it shows it.
type topOptions struct {
	interval time.Duration
	watch    bool // one interval after the other
	pick     func(loadKey) bool
	output   *outputFormat
}

// top prints the load over one interval, or over one after the other.
func (c *client) top(ctx context.Context, term *terminal, o topOptions) error {
	info, err := readInfo(ctx, c.kube)
	if err != nil {
		return err
	}
	if info.Metrics == "" {
		return withTry(fmt.Errorf("the daemon runs without its metrics"), "fairlead serve without --disable metrics")
	}
	before, err := readLoads(ctx, info.Metrics)
	if err != nil {
		return err
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if o.watch {
				return nil
			}
			return context.Cause(ctx)
		case <-tick.C:
		}
		after, err := readLoads(ctx, info.Metrics)
		if err != nil {
			return endedBy(ctx, err)
		}
		if err := o.show(term, before, after); err != nil {
			return err
		}
		if !o.watch {
			return nil
		}
		before = after
	}
}

// show prints what happened between two readings.
func (o *topOptions) show(term *terminal, before, after loads) error {
	if o.output.value != "" {
		return o.output.print(term.out, loadList(before, after, o.pick))
	}
	if o.watch && term.human {
		fmt.Fprint(term.out, "\x1b[H\x1b[2J")
	}
	t := loadTable(before, after, o.pick)
	if len(t.rows) == 0 && !o.watch {
		term.note("No revision has had a request or an instance since the daemon started.")
	}
	return t.write(term.out, term.human)
}

// loadKey names a revision in the metrics.
type loadKey struct{ namespace, service, revision string }

// load is what the gateway has counted of a revision: totals since the daemon started, and what it has now.
type load struct {
	requests, failed, inflight, waiting, ready float64
	// buckets are cumulative counts of durations by upper bound in seconds.
	buckets map[float64]float64
}

// loads are all revisions at one moment.
type loads struct {
	at         time.Time
	byRevision map[loadKey]*load
}

func readLoads(ctx context.Context, address string) (loads, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return loads{}, fmt.Errorf("read metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return loads{}, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return loads{}, fmt.Errorf("read metrics: %s answers %s", address, response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return loads{}, fmt.Errorf("read metrics of %s: %w", address, err)
	}
	return sumLoads(time.Now(), families), nil
}

// sumLoads adds up the metrics of each revision over callers and classes.
func sumLoads(at time.Time, families map[string]*dto.MetricFamily) loads {
	l := loads{at: at, byRevision: map[loadKey]*load{}}
	each := func(name string, add func(*load, *dto.Metric, map[string]string)) {
		for _, m := range families["fairlead_gateway_"+name].GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			key := loadKey{labels["namespace"], labels["service"], labels["revision"]}
			if l.byRevision[key] == nil {
				l.byRevision[key] = &load{buckets: map[float64]float64{}}
			}
			add(l.byRevision[key], m, labels)
		}
	}
	each("requests_total", func(x *load, m *dto.Metric, labels map[string]string) {
		x.requests += m.GetCounter().GetValue()
		if labels["class"] == "5xx" {
			x.failed += m.GetCounter().GetValue()
		}
	})
	each("request_duration_seconds", func(x *load, m *dto.Metric, _ map[string]string) {
		for _, b := range m.GetHistogram().GetBucket() {
			x.buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
	})
	each("inflight_requests", func(x *load, m *dto.Metric, _ map[string]string) { x.inflight += m.GetGauge().GetValue() })
	each("waiting_requests", func(x *load, m *dto.Metric, _ map[string]string) { x.waiting += m.GetGauge().GetValue() })
	each("ready_instances", func(x *load, m *dto.Metric, _ map[string]string) { x.ready += m.GetGauge().GetValue() })
	return l
}

// pickedLoads are the revisions that a reading has, in order.
func pickedLoads(after loads, pick func(loadKey) bool) []loadKey {
	var keys []loadKey
	for key := range after.byRevision {
		if pick(key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b loadKey) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.service, b.service), cmp.Compare(a.revision, b.revision))
	})
	return keys
}

// revisionLoad is the load of a revision as programs read it.
type revisionLoad struct {
	Namespace         string   `json:"namespace"`
	Service           string   `json:"service"`
	Revision          string   `json:"revision"`
	ReadyInstances    float64  `json:"readyInstances"`
	RequestsPerSecond float64  `json:"requestsPerSecond"`
	FailedPerSecond   float64  `json:"failedPerSecond"`
	P50Seconds        *float64 `json:"p50Seconds,omitempty"` // at most; absent: nothing was answered, or it took longer than is measured
	P95Seconds        *float64 `json:"p95Seconds,omitempty"`
	InFlight          float64  `json:"inFlight"`
	Waiting           float64  `json:"waiting"`
}

func loadList(before, after loads, pick func(loadKey) bool) []revisionLoad {
	list := []revisionLoad{}
	seconds := after.at.Sub(before.at).Seconds()
	for _, key := range pickedLoads(after, pick) {
		now, then := after.byRevision[key], before.byRevision[key]
		if then == nil {
			then = &load{}
		}
		one := revisionLoad{
			Namespace: key.namespace, Service: key.service, Revision: key.revision, ReadyInstances: now.ready, InFlight: now.inflight, Waiting: now.waiting,
			RequestsPerSecond: max(0, now.requests-then.requests) / seconds, FailedPerSecond: max(0, now.failed-then.failed) / seconds,
		}
		for q, field := range map[float64]**float64{0.5: &one.P50Seconds, 0.95: &one.P95Seconds} {
			if bound, _, has := quantileBound(q, then.buckets, now.buckets); has && bound < 1e9 {
				*field = &bound
			}
		}
		list = append(list, one)
	}
	return list
}

func loadTable(before, after loads, pick func(loadKey) bool) *table {
	t := &table{header: []string{"NAMESPACE", "SERVICE", "REVISION", "READY", "REQ/S", "FAILED/S", "P50", "P95", "NOW", "WAITING"}}
	seconds := after.at.Sub(before.at).Seconds()
	for _, key := range pickedLoads(after, pick) {
		now, then := after.byRevision[key], before.byRevision[key]
		if then == nil {
			then = &load{}
		}
		failed := cell{text: rate(now.failed-then.failed, seconds)}
		if now.failed > then.failed {
			failed.shade = shadeBad
		}
		t.add(key.namespace, key.service, key.revision, now.ready, rate(now.requests-then.requests, seconds), failed,
			quantile(0.5, then.buckets, now.buckets), quantile(0.95, then.buckets, now.buckets), now.inflight, now.waiting)
	}
	return t
}

func rate(count, seconds float64) string {
	if count <= 0 || seconds <= 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", count/seconds)
}

// quantile is the upper bound of the bucket that the quantile of what was counted in between falls into, as "<=25ms";
// empty if nothing was.
func quantile(q float64, before, after map[float64]float64) string {
	bound, below, has := quantileBound(q, before, after)
	switch {
	case !has:
		return ""
	case bound > 1e9: // the last bucket has no bound
		return fmt.Sprintf(">%v", inSeconds(below))
	}
	return fmt.Sprintf("<=%v", inSeconds(bound))
}

// quantileBound gives the bounds of that bucket in seconds.
func quantileBound(q float64, before, after map[float64]float64) (bound, below float64, has bool) {
	bounds := make([]float64, 0, len(after))
	var total float64
	for bound, count := range after {
		bounds = append(bounds, bound)
		total = max(total, count-before[bound])
	}
	if total <= 0 {
		return 0, 0, false
	}
	slices.Sort(bounds)
	for _, bound := range bounds {
		if after[bound]-before[bound] >= q*total {
			return bound, below, true
		}
		below = bound
	}
	return 0, 0, false
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
