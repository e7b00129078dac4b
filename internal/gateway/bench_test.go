package gateway

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func manyRoutes(n int) Table {
	var table Table
	for i := range n {
		name := fmt.Sprintf("default/s%d-00001", i)
		short := fmt.Sprintf("s%d.default", i)
		table.Backends = append(table.Backends, Backend{Name: name, Timeout: 5 * time.Minute})
		table.Routes = append(table.Routes,
			Route{Name: fmt.Sprint("default/s", i), Hosts: []string{short + ".localhost"}, Rules: one(name)},
			Route{Name: fmt.Sprint("default/s", i, "#inside"), Visibility: ClusterLocal, Rules: one(name),
				Hosts: []string{short, short + ".svc", short + ".svc.cluster.local"}})
	}
	return table
}

func BenchmarkFindRoute(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rs := mustCompile(b, manyRoutes(n))
			h := http.Header{"Accept": {"*/*"}}
			b.ReportAllocs()
			for b.Loop() {
				r := rs.find("s7.default.localhost:8080", outside)
				if r.rule("/some/path", h).split(nil) == nil {
					b.Fatal("no split")
				}
			}
		})
	}
}

func BenchmarkSlot(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			be := newBackend("b", func(string) {})
			be.setRouted(true)
			var list []Instance
			for i := range n {
				list = append(list, Instance{ID: fmt.Sprint(i)})
			}
			be.setInstances(list, time.Now())
			b.ReportAllocs()
			for b.Loop() {
				i, _ := be.arrive(time.Now())
				be.leave(i, time.Now())
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g, err := New(Config{})
			if err != nil {
				b.Fatal(err)
			}
			table := manyRoutes(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Apply(table); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProxied is one request from a client through the gateway to an app and back, all in this process.
func BenchmarkProxied(b *testing.B) {
	g, addr := start(b, Config{})
	g.SetInstances("b", []Instance{app(b, "a", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })})
	if err := g.Apply(simple("h.localhost", Backend{Name: "b", Timeout: 5 * time.Minute})); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		r, _ := http.NewRequest("GET", "http://"+addr+"/", nil)
		r.Host = "h.localhost"
		for pb.Next() {
			res, err := tr.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	})
}

// usedCPU is what this process has used.
func usedCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails for unknown numbers only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWays is one request to an instance and its answer, by each way, from one sender and from 16. On a machine that is busy the
// CPU tells more than the time; it is the app's as well.
func BenchmarkWays(b *testing.B) {
	in := app(b, "a", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello")
	})
	for name, open := range bothWays {
		for _, senders := range []int{1, 16} {
			for _, method := range []string{"GET", "POST"} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, method, senders), func(b *testing.B) {
					w := open(in.Dial)
					defer w.close()
					b.ReportAllocs()
					begun := usedCPU()
					b.SetParallelism((senders + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							r := request(b.Context(), method, nil, 0)
							if method == "POST" {
								r.Body, r.ContentLength = openBody{strings.NewReader("hello")}, 5
							}
							res, err := w.send(r, &noted{})
							if err != nil {
								b.Fatal(err)
							}
							io.Copy(io.Discard, res.Body)
							res.Body.Close()
						}
					})
					b.ReportMetric(float64((usedCPU()-begun).Microseconds())/float64(b.N), "cpu-us/op")
				})
			}
		}
	}
}

// BenchmarkWoken is what the gateway adds to a wake: from the arrival of a request for a backend without instances to the slot, with a
// scaler that has an instance at once, among 10 and 10,000 services.
func BenchmarkWoken(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var g *Gateway
			g, err := New(Config{Wake: func(name string) { go g.SetInstances(name, []Instance{{ID: "a"}}) }})
			if err != nil {
				b.Fatal(err)
			}
			if err := g.Apply(manyRoutes(n)); err != nil {
				b.Fatal(err)
			}
			be := g.backend("default/s7-00001")
			b.ReportAllocs()
			for b.Loop() {
				i, _ := be.arrive(time.Now())
				if i == nil {
					i, _, err = be.acquire(b.Context(), time.Now(), func(bool) {})
				}
				if err != nil {
					b.Fatal(err)
				}
				be.leave(i, time.Now())
				g.SetInstances(be.name, nil)
			}
		})
	}
}
