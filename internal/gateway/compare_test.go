package gateway

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childVar makes this test program be one of the programs that are compared, instead of testing.
const childVar = "FAIRLEAD_BENCH_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(childVar); kind != "" {
		if err := child(kind, os.Getenv("FAIRLEAD_BENCH_APP")); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

// child serves as the app, as the gateway or as the plainest proxy that the standard library makes, and prints its address and that of a
// counter of allocations.
func child(kind, appAddr string) error {
	counter, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(counter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/profile":
			pprof.Profile(w, r)
			return
		case "/allocs":
			pprof.Handler("allocs").ServeHTTP(w, r)
			return
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprint(w, m.Mallocs)
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr(), counter.Addr())
	switch kind {
	case "app":
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, hello) }))
	case "httputil":
		p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: appAddr})
		p.Transport = &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
		p.ErrorLog = log.New(io.Discard, "", 0)
		return http.Serve(l, p)
	}
	g, err := New(Config{HTTPListeners: []net.Listener{l}})
	if err != nil {
		return err
	}
	g.SetInstances("b", []Instance{{ID: "a", Dial: dialTo(appAddr)}})
	if err := g.Apply(simple("h.localhost", Backend{Name: "b", Timeout: 5 * time.Minute})); err != nil {
		return err
	}
	return g.Run(context.Background(), nil)
}

// hello is what the app answers.
const hello = "hello, world\n"

// contestant is one running proxy.
type contestant struct {
	name, addr, counter string
	pid                 int
	results             map[int][]result // by number of connections
}

type result struct{ rate, cpu, p50, p99, allocs float64 }

// TestCompareProxies compares the gateway with what else is installed, interleaved, each in its own process, and prints a table.
func TestCompareProxies(t *testing.T) {
	if os.Getenv("FAIRLEAD_BENCH") == "" {
		t.Skip("takes minutes: make bench-gateway")
	}
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("wrk is not installed: apt-get install wrk")
	}
	seconds := cmp.Or(os.Getenv("FAIRLEAD_BENCH_SECONDS"), "4")
	const rounds = 4 // the first one warms up
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	appAddr := startChild(t, self, "app", "").addr
	all := []*contestant{startChild(t, self, "gateway", appAddr), startChild(t, self, "httputil", appAddr)}
	if other := os.Getenv("FAIRLEAD_BENCH_OTHER"); other != "" { // made by go test -c of another version
		before := startChild(t, other, "gateway", appAddr)
		before.name = "gateway, other"
		all = append(all, before)
	}
	all = append(all, installed(t, appAddr)...)
	for _, c := range all {
		if res, body := ask(t, "GET", c.addr, "h.localhost", "/"); res.StatusCode != http.StatusOK || body != hello {
			t.Fatalf("%s answers %s %q by itself: its configuration is wrong", c.name, res.Status, body)
		}
	}
	for round := range rounds {
		for _, connections := range []int{1, 16, 128} {
			for _, c := range all {
				r := c.measure(t, wrk, seconds, connections)
				if round > 0 {
					c.results[connections] = append(c.results[connections], r)
				}
			}
		}
	}
	fmt.Println("| connections | proxy | requests/s | CPU per request | p50 | p99 | allocations |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, connections := range []int{1, 16, 128} {
		for _, c := range all {
			m := median(c.results[connections])
			fmt.Printf("| %d | %s | %.0f | %.0f us | %.2f ms | %.2f ms | %.0f |\n", connections, c.name, m.rate, m.cpu*1e6, m.p50, m.p99, m.allocs)
		}
	}
}

func startChild(t *testing.T, program, kind, appAddr string) *contestant {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childVar+"="+kind, "FAIRLEAD_BENCH_APP="+appAddr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := run(t, cmd, kind)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.addr, c.counter, _ = strings.Cut(strings.TrimSpace(line), " ")
	return c
}

// run starts a program that ends with the test.
func run(t *testing.T, cmd *exec.Cmd, name string) *contestant {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &contestant{name: name, pid: cmd.Process.Pid, results: map[int][]result{}}
}

// installed starts the other proxies there are, each as one process with keep-alive to the app.
func installed(t *testing.T, appAddr string) []*contestant {
	t.Helper()
	dir := t.TempDir()
	var all []*contestant
	add := func(program, file, config string, args ...string) {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("%s is not installed", program)
			return
		}
		l := listenLocal(t)
		addr := l.Addr().String()
		l.Close()
		_, port, _ := net.SplitHostPort(addr)
		config = strings.NewReplacer("LISTEN", addr, "PORT", port, "APP", appAddr, "DIR", dir).Replace(config)
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		c := run(t, exec.Command(path, append(args, file)...), program)
		c.addr = addr
		waitFor(t, program, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		all = append(all, c)
	}
	add("nginx", "nginx.conf", `daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/nginx.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
upstream app { server APP; keepalive 512; keepalive_requests 1000000000; }
server { listen LISTEN; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }
`, "-c")
	add("haproxy", "haproxy.cfg", `global
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  option forwardfor
frontend f
  bind LISTEN
  default_backend b
backend b
  http-reuse always
  server s APP pool-max-conn 512
`, "-db", "-f")
	add("caddy", "Caddyfile", "{\n admin off\n auto_https off\n}\nhttp://:PORT {\n bind 127.0.0.1\n reverse_proxy APP\n}\n", "run", "--adapter", "caddyfile", "--config")
	return all
}

var (
	ratePattern    = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	totalPattern   = regexp.MustCompile(`([0-9]+) requests in`)
	latencyPattern = regexp.MustCompile(`(50|99)%\s+([0-9.]+)(us|ms|s)\n`)
)

// measure loads the proxy for some seconds.
func (c *contestant) measure(t *testing.T, wrk, seconds string, connections int) result {
	t.Helper()
	cpu, allocs := cpuOf(t, c.pid), c.mallocs(t)
	threads := strconv.Itoa(min(connections, 2))
	out, err := exec.Command(wrk, "-t"+threads, "-c"+strconv.Itoa(connections), "-d"+seconds+"s", "--latency", "-H", "Host: h.localhost", "http://"+c.addr+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("wrk: %v: %s", err, out)
	}
	if strings.Contains(string(out), "Non-2xx") || strings.Contains(string(out), "Socket errors") {
		t.Fatalf("%s: %s", c.name, out)
	}
	total := number(totalPattern.FindSubmatch(out))
	r := result{rate: number(ratePattern.FindSubmatch(out)), cpu: (cpuOf(t, c.pid) - cpu) / total, allocs: (c.mallocs(t) - allocs) / total}
	for _, m := range latencyPattern.FindAllStringSubmatch(string(out), -1) {
		v, _ := strconv.ParseFloat(m[2], 64)
		v *= map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3}[m[3]]
		if m[1] == "50" {
			r.p50 = v
		} else {
			r.p99 = v
		}
	}
	return r
}

func number(match [][]byte) float64 {
	if len(match) < 2 {
		return 0
	}
	v, _ := strconv.ParseFloat(string(match[1]), 64)
	return v
}

// cpuOf gives the seconds of CPU that a process has used, its threads included.
func cpuOf(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // ticks of USER_HZ
}

func (c *contestant) mallocs(t *testing.T) float64 {
	if c.counter == "" {
		return 0
	}
	res, err := http.Get("http://" + c.counter)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	v, _ := strconv.ParseFloat(string(data), 64)
	return v
}

// median takes the median of each figure by itself.
func median(rs []result) result {
	of := func(figure func(result) float64) float64 {
		var all []float64
		for _, r := range rs {
			all = append(all, figure(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return result{
		rate: of(func(r result) float64 { return r.rate }), cpu: of(func(r result) float64 { return r.cpu }),
		p50: of(func(r result) float64 { return r.p50 }), p99: of(func(r result) float64 { return r.p99 }),
		allocs: of(func(r result) float64 { return r.allocs }),
	}
}
