package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// start runs a gateway on a free port and gives its base address. It is stopped at the end of the test.
func start(t testing.TB, cfg Config) (*Gateway, string) {
	t.Helper()
	if cfg.HTTP == nil {
		cfg.HTTP = []string{"127.0.0.1:0"}
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 5 * time.Second
	}
	if cfg.LameDuck == 0 {
		cfg.LameDuck = time.Millisecond
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- g.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	plain, _ := g.Addrs()
	return g, plain[0].String()
}

// simple is a table with one host and one backend.
func simple(host string, b Backend) Table {
	return Table{
		Routes:   []Route{{Name: "default/" + host, Hosts: []string{host}, Hash: "abc", Rules: []Rule{{Splits: []Split{{Backend: b.Name, Weight: 100}}}}}},
		Backends: []Backend{b},
	}
}

// app is a real HTTP server as an instance. Protocol h2c is spoken besides HTTP/1.1.
func app(t testing.TB, id string, h http.HandlerFunc) Instance {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return Instance{ID: id, Dial: dialTo(srv.Listener.Addr().String())}
}

func dialTo(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

// ask sends a request and gives status and body.
func ask(t testing.TB, method, addr, host, path string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for _, c := range change {
		c(r)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal("reading the answer:", err)
	}
	return res, string(body)
}

func TestRequestFindsInstance(t *testing.T) {
	g, addr := start(t, Config{})
	if err := g.Apply(simple("hello.default.localhost", Backend{Name: "default/hello-00001"})); err != nil {
		t.Fatal(err)
	}
	var seen http.Header
	var host string
	g.SetInstances("default/hello-00001", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		seen, host = r.Header, r.Host
		io.WriteString(w, "hello "+r.URL.String())
	})})

	res, body := ask(t, "GET", addr, "hello.default.localhost:8080", "/a%2Fb?x=1;y", func(r *http.Request) {
		r.Header.Set("X-Mine", "kept")
		r.Header.Set(callerHeader, "forged/caller")
	})
	if res.StatusCode != 200 || body != "hello /a%2Fb?x=1;y" {
		t.Fatalf("got %d %q", res.StatusCode, body)
	}
	want := map[string]string{
		"Forwarded":         `for=127.0.0.1;host="hello.default.localhost:8080";proto=http`,
		"X-Forwarded-For":   "127.0.0.1",
		"X-Forwarded-Proto": "http",
		"X-Mine":            "kept",
		callerHeader:        "",
	}
	for k, v := range want {
		if got := seen.Get(k); got != v {
			t.Errorf("the instance saw %s: %q, want %q", k, got, v)
		}
	}
	if traceID(seen.Get("Traceparent")) == "" {
		t.Errorf("traceparent %q is not valid", seen.Get("Traceparent"))
	}
	if host != "hello.default.localhost:8080" {
		t.Errorf("the instance saw the host %q", host)
	}
	if res, _ := ask(t, "GET", addr, "other.default.localhost", "/"); res.StatusCode != 404 {
		t.Errorf("an unknown host got %d, want 404", res.StatusCode)
	}
	res, _ = ask(t, "GET", addr, "hello.default.localhost", "/", func(r *http.Request) { r.Header.Set("K-Network-Probe", "probe") })
	if res.StatusCode != 200 || res.Header.Get("K-Network-Hash") != "abc" {
		t.Errorf("a probe got %d with hash %q", res.StatusCode, res.Header.Get("K-Network-Hash"))
	}
}

func TestRequestWakes(t *testing.T) {
	var g *Gateway
	var wakes atomic.Int32
	in := app(t, "a", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "awake") })
	g, addr := start(t, Config{Wake: func(b string) {
		wakes.Add(1)
		go g.SetInstances(b, []Instance{in})
	}})
	if err := g.Apply(simple("h.localhost", Backend{Name: "b", Timeout: 10 * time.Second})); err != nil {
		t.Fatal(err)
	}
	if _, body := ask(t, "GET", addr, "h.localhost", "/"); body != "awake" {
		t.Errorf("got %q", body)
	}
	ask(t, "GET", addr, "h.localhost", "/")
	if n := wakes.Load(); n != 1 {
		t.Errorf("woken %d times, want once", n)
	}
	s := g.Sample("b")
	if s.Requests != 2 || s.InFlight != 0 || s.Instances != 1 {
		t.Errorf("sample %+v", s)
	}
}

func TestFailedWakeTellsWhy(t *testing.T) {
	var g *Gateway
	g, addr := start(t, Config{Wake: func(b string) { go g.SetFailed(b, "the image cannot be pulled") }})
	if err := g.Apply(simple("h.localhost", Backend{Name: "b"})); err != nil {
		t.Fatal(err)
	}
	res, body := ask(t, "GET", addr, "h.localhost", "/")
	if res.StatusCode != 503 || !strings.Contains(body, "the image cannot be pulled") || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

// TestTimeout lets a request over sockets meet its limit; TestTimeoutsInTime has the rest.
func TestTimeout(t *testing.T) {
	g, addr := start(t, Config{})
	late := make(chan struct{})
	defer close(late)
	in := app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-late:
		case <-r.Context().Done():
		}
	})
	g.SetInstances("b", []Instance{in})
	if err := g.Apply(simple("h.localhost", Backend{Name: "b", Timeout: 200 * time.Millisecond})); err != nil {
		t.Fatal(err)
	}
	if res, _ := ask(t, "GET", addr, "h.localhost", "/"); res.StatusCode != 504 {
		t.Errorf("no first byte in time: got %d, want 504", res.StatusCode)
	}
}
