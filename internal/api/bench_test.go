package api_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/knative"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// objectsBefore is how many Services exist before a benchmark begins; FAIRLEAD_BENCH_SERVICES sets it.
func objectsBefore() int {
	n, _ := strconv.Atoi(os.Getenv("FAIRLEAD_BENCH_SERVICES"))
	return n
}

func withKnative(c *api.Config) { c.Definitions = knative.Definitions() }

func services(t testing.TB, w *world) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	return d.Resource(schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}).Namespace("default")
}

func service(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
			"image": "example.com/app:v1", "env": []any{map[string]any{"name": "A", "value": "b"}}, "resources": map[string]any{"limits": map[string]any{"cpu": "1", "memory": "128Mi"}}}}}}},
	}}
}

// filled begins a world with Knative's kinds and the Services that should be there.
func filled(b testing.TB) *world {
	b.Helper()
	w := begin(b, "", withKnative)
	create(b, services(b, w), "before", objectsBefore())
	return w
}

// create makes n Services with 16 clients.
func create(b testing.TB, client dynamic.ResourceInterface, prefix string, n int) {
	b.Helper()
	var next atomic.Int64
	errs := make(chan error, 16)
	for range 16 {
		go func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if _, err := client.Create(context.Background(), service(fmt.Sprint(prefix, i)), metav1.CreateOptions{}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreate is the time of one creation while 16 clients create.
func BenchmarkCreate(b *testing.B) {
	w := filled(b)
	client := services(b, w)
	before := processor()
	b.ResetTimer()
	create(b, client, "new", b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
	b.ReportMetric(float64((processor()-before).Microseconds())/1000/float64(b.N), "cpu-ms/create")
}

// processor is the processor time that this process has used, clients included.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWatch is the time from the begin of a write to its arrival at a watch.
func BenchmarkWatch(b *testing.B) {
	w := filled(b)
	took := arrivals(b, services(b, w), b.N, b.ResetTimer)
	b.StopTimer()
	b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "p99-ms")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// arrivals changes a Service n times, one change after the other, and gives the times until each arrived at a watch, shortest first.
func arrivals(b testing.TB, client dynamic.ResourceInterface, n int, begin func()) []time.Duration {
	b.Helper()
	if _, err := client.Create(b.Context(), service("seen"), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	watching, err := client.Watch(b.Context(), metav1.ListOptions{FieldSelector: "metadata.name=seen"})
	if err != nil {
		b.Fatal(err)
	}
	defer watching.Stop()
	<-watching.ResultChan()
	var took []time.Duration
	begin()
	for i := range n {
		began := time.Now()
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, i)
		done := make(chan error, 1)
		go func() {
			_, err := client.Patch(b.Context(), "seen", "application/merge-patch+json", patch, metav1.PatchOptions{})
			done <- err
		}()
		<-watching.ResultChan()
		took = append(took, time.Since(began))
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	return took
}

// TestFigures prints the table of `make bench-api`: creations by 16 clients and the way to a watch, among as many Services as
// FAIRLEAD_BENCH_STORED says, such as 0,10000. FAIRLEAD_BENCH_WRITES creations and a quarter as many changes are measured.
func TestFigures(t *testing.T) {
	stored := os.Getenv("FAIRLEAD_BENCH_STORED")
	if stored == "" {
		t.Skip("measures for minutes: FAIRLEAD_BENCH_STORED=0,10000, or make bench-api")
	}
	writes := 2000
	if n, err := strconv.Atoi(os.Getenv("FAIRLEAD_BENCH_WRITES")); err == nil {
		writes = n
	}
	rows := []string{"", "| Services stored | creations/s, 16 clients | CPU per creation | watch p50 | watch p99 | load average |", "|---|---|---|---|---|---|"}
	w := begin(t, "", withKnative)
	client, count := services(t, w), 0
	for _, text := range strings.Split(stored, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < count {
			t.Fatalf("FAIRLEAD_BENCH_STORED=%q: want numbers that grow", stored)
		}
		create(t, client, fmt.Sprint("before", n, "-"), n-count)
		count = n
		prefix := fmt.Sprint("new", n, "-")
		create(t, client, prefix+"warm-", 64)
		began, before := time.Now(), processor()
		create(t, client, prefix, writes)
		took, used := time.Since(began), processor()-before
		count += 64 + writes
		way := arrivals(t, client, writes/4, func() {})
		if err := client.Delete(t.Context(), "seen", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		load, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprintf("| %d | %.0f | %.2f ms | %.1f ms | %.1f ms | %s |", n, float64(writes)/took.Seconds(), milliseconds(used)/float64(writes),
			milliseconds(way[len(way)/2]), milliseconds(way[len(way)*99/100]), strings.Fields(string(load))[0]))
	}
	fmt.Println(strings.Join(rows, "\n"))
}

// BenchmarkReady is the time from opening an existing store to an API that serves everything.
func BenchmarkReady(b *testing.B) {
	w := filled(b)
	w.stop()
	b.ResetTimer()
	for range b.N {
		stop := open(b, w.home)
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}

func open(b *testing.B, home string) (stop func()) {
	s, err := store.New(store.Config{Dir: filepath.Join(home, "store")})
	if err != nil {
		b.Fatal(err)
	}
	cfg := api.Config{Dir: filepath.Join(home, "api"), Etcd: s.Endpoint(), Listen: "127.0.0.1:0"}
	withKnative(&cfg)
	server, err := api.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	stopStore := run(b, s.Run)
	stopServer := run(b, server.Run)
	return func() { stopServer(); stopStore() }
}

// BenchmarkMemory reports what an idle store and API hold.
func BenchmarkMemory(b *testing.B) {
	filled(b)
	for b.Loop() {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapInuse+m.StackInuse)/(1<<20), "MB-in-use")
}
