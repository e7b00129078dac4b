package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const metricsBefore = `# TYPE fairlead_gateway_requests_total counter
fairlead_gateway_requests_total{namespace="default",service="hello",revision="hello-00001",caller="",class="2xx"} 10
`

const metricsAfter = `# TYPE fairlead_gateway_requests_total counter
fairlead_gateway_requests_total{namespace="default",service="hello",revision="hello-00001",caller="",class="2xx"} 28
fairlead_gateway_requests_total{namespace="default",service="hello",revision="hello-00001",caller="",class="5xx"} 2
fairlead_gateway_requests_total{namespace="other",service="hello",revision="hello-00001",caller="",class="2xx"} 5
# TYPE fairlead_gateway_request_duration_seconds histogram
fairlead_gateway_request_duration_seconds_bucket{namespace="default",service="hello",revision="hello-00001",le="0.005"} 15
fairlead_gateway_request_duration_seconds_bucket{namespace="default",service="hello",revision="hello-00001",le="0.1"} 19
fairlead_gateway_request_duration_seconds_bucket{namespace="default",service="hello",revision="hello-00001",le="+Inf"} 20
fairlead_gateway_request_duration_seconds_sum{namespace="default",service="hello",revision="hello-00001"} 1
fairlead_gateway_request_duration_seconds_count{namespace="default",service="hello",revision="hello-00001"} 20
# TYPE fairlead_gateway_ready_instances gauge
fairlead_gateway_ready_instances{namespace="default",service="hello",revision="hello-00001"} 2
`

func loadsOf(t *testing.T, text string, at time.Time) loads {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return sumLoads(at, families)
}

func TestLoadTable(t *testing.T) {
	start := time.Unix(100, 0)
	before, after := loadsOf(t, metricsBefore, start), loadsOf(t, metricsAfter, start.Add(2*time.Second))
	var out strings.Builder
	pick := func(k loadKey) bool { return k.namespace == "default" }
	if err := loadTable(before, after, pick).write(&out, false); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(rows) != 2 {
		t.Fatalf("got\n%s\nwant a header and one row", out.String())
	}
	if got, want := strings.Join(strings.Fields(rows[1]), " "), "default hello hello-00001 2 10.0 1.0 <=5ms <=100ms 0 0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestQuantileWithoutBound(t *testing.T) {
	after := map[float64]float64{1: 0, 60: 1, math.Inf(1): 100}
	if got := quantile(0.95, nil, after); got != ">1m0s" {
		t.Errorf("got %s, want >1m0s", got)
	}
	if got := quantile(0.95, after, after); got != "" {
		t.Errorf("got %s of no requests", got)
	}
}
