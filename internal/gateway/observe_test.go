package gateway

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// knativeTemplate is the example of config-observability.
const knativeTemplate = `{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}", "revision": "{{.Revision.Name}}"}`

func TestRequestLog(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	g, addr := start(t, Config{RequestLog: func(backend, instance string, line []byte) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, backend+" "+instance+" "+string(line))
	}})
	g.SetInstances("default/h-00001", []Instance{app(t, "pod-1", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		io.WriteString(w, "hello")
	})})
	table := simple("h.localhost", Backend{Name: "default/h-00001"})
	table.RequestLog = knativeTemplate
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	ask(t, "GET", addr, "h.localhost", "/a\"b", func(r *http.Request) {
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	})
	read := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return lines
	}
	waitFor(t, "the line", func() bool { return len(read()) == 1 })
	line := read()[0]
	for _, want := range []string{"default/h-00001 pod-1 {", `"status": 201`, `"responseSize": "5"`, `"requestUrl": "/a%22b"`, `"traceId": "0af7651916cd43dd8448eb211c80319c"`, `"revision": "h-00001"`, "}\n"} {
		if !strings.Contains(line, want) {
			t.Errorf("the line lacks %s: %s", want, line)
		}
	}
	table.RequestLog = "{{.Response.Nope}}"
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	ask(t, "GET", addr, "h.localhost", "/")
	waitFor(t, "the second line", func() bool { return len(read()) == 2 })
	if !strings.Contains(read()[1], "request log template: ") {
		t.Errorf("a template that does not fit: %s", read()[1])
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	g, addr := start(t, Config{Registerer: reg})
	g.SetInstances("default/h-00001", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {})})
	table := simple("h.localhost", Backend{Name: "default/h-00001", Service: "h"})
	table.Backends = append(table.Backends, Backend{Name: "default/none"}, Backend{Name: "other/none"})
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	ask(t, "GET", addr, "h.localhost", "/")
	ask(t, "GET", addr, "h.localhost", "/")
	ask(t, "GET", addr, "unknown.localhost", "/")
	waitFor(t, "both to be counted", func() bool {
		return testutil.ToFloat64(g.metrics.requests.WithLabelValues("default", "h", "h-00001", "external", "2xx")) == 2
	})
	want := `
# HELP fairlead_gateway_refused_requests_total Requests that were answered without choosing a backend, by reason.
# TYPE fairlead_gateway_refused_requests_total counter
fairlead_gateway_refused_requests_total{reason="unknown_host"} 1
# HELP fairlead_gateway_ready_instances Instances that take requests now.
# TYPE fairlead_gateway_ready_instances gauge
fairlead_gateway_ready_instances{namespace="default",revision="h-00001",service="h"} 1
fairlead_gateway_ready_instances{namespace="default",revision="none",service=""} 0
fairlead_gateway_ready_instances{namespace="other",revision="none",service=""} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "fairlead_gateway_refused_requests_total", "fairlead_gateway_ready_instances"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	g.SetInstances("default/h-00001", nil)
	waitFor(t, "the backend to be forgotten", func() bool {
		if err := g.Apply(Table{}); err != nil {
			t.Fatal(err)
		}
		n, err := testutil.GatherAndCount(reg, "fairlead_gateway_requests_total", "fairlead_gateway_request_duration_seconds", "fairlead_gateway_ready_instances")
		return err == nil && n == 0
	})
}

// TestResetFlood opens and resets streams as fast as it can (CVE-2023-44487) and holds that others are still served.
func TestResetFlood(t *testing.T) {
	g, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flood" {
			<-r.Context().Done()
		}
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, http2.ClientPreface)
	go io.Copy(io.Discard, conn)
	fr := http2.NewFramer(conn, nil)
	fr.WriteSettings()
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for stream := uint32(1); stream < 40_000; stream += 2 {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "h.localhost"}, {":path", "/flood"}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		if fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true}) != nil ||
			fr.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
			break // the gateway has had enough
		}
		if s := g.Stats("b"); s.InFlight > 1000 {
			t.Fatalf("%d requests in flight from one connection", s.InFlight)
		}
	}
	if res, _ := ask(t, "GET", addr, "h.localhost", "/"); res.StatusCode != 200 {
		t.Errorf("during the flood others got %d", res.StatusCode)
	}
	conn.Close()
	waitFor(t, "the flood to drain", func() bool { return g.Stats("b").InFlight == 0 })
}
