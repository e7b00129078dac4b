// Command hang looks for a request that is forgotten: for a time it sends requests at random moments to services that freeze, go to zero and
// wake, with clients that give up, and fails if one takes longer than it may. What all goroutines of the daemon do is printed then.
//
//	go run ./test/hang -binary bin/fairlead -for 10m
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// limit is more than any request may take: a wake takes a tenth of a second, on a machine with too much to do some seconds.
const limit = 30 * time.Second

func main() {
	binary := flag.String("binary", "bin/fairlead", "the fairlead to test")
	example := flag.String("example", "examples/hello", "folder with the program to run")
	lasts := flag.Duration("for", 10*time.Minute, "how long to look")
	clients := flag.Int("clients", 6, "clients of each service")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *example, *lasts, *clients); err != nil {
		log.Fatalf("hang: %v", err)
	}
}

// kinds are the services: annotations and containerConcurrency.
var kinds = []struct {
	name        string
	concurrency int64
	annotations map[string]string
}{
	{"zero", 0, nil},
	{"zero-one-by-one", 1, map[string]string{"autoscaling.knative.dev/max-scale": "2"}},
	{"freeze", 0, map[string]string{"fairlead.dev/idle": "freeze"}},
	{"freeze-one-by-one", 1, map[string]string{"fairlead.dev/idle": "freeze", "autoscaling.knative.dev/max-scale": "2"}},
	{"steady", 5, map[string]string{"autoscaling.knative.dev/min-scale": "1"}},
}

func run(ctx context.Context, binary, example string, lasts time.Duration, clients int) (err error) {
	home, err := os.MkdirTemp("", "hang")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	h := realdaemon.New(binary, home)
	if err := h.Start(ctx, "--pprof"); err != nil {
		return fmt.Errorf("%w\n%s", err, h.Logged())
	}
	defer func() {
		if err = errors.Join(err, h.End(syscall.SIGTERM)); err != nil {
			err = fmt.Errorf("%w\n%s", err, h.Logged())
		}
	}()
	fast := []byte(`{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-autoscaler", types.MergePatchType, fast, metav1.PatchOptions{}); err != nil {
		return err
	}
	image, err := h.Build(ctx, example)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: k.name}}
		s.Spec.Template.Annotations = k.annotations
		s.Spec.Template.Spec.Containers = []corev1.Container{{Image: image}}
		s.Spec.Template.Spec.ContainerConcurrency = ptr.Int64(k.concurrency)
		if _, err := h.Serving.ServingV1().Services("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return err
		}
		ready := func(ctx context.Context) (bool, error) {
			s, err := h.Serving.ServingV1().Services("default").Get(ctx, k.name, metav1.GetOptions{})
			return err == nil && s.IsReady(), err
		}
		if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, ready); err != nil {
			return fmt.Errorf("service %s: %w", k.name, err)
		}
	}
	looking, end := context.WithTimeout(ctx, lasts)
	defer end()
	s := &search{h: h, fail: end, tallies: map[string]*tally{}}
	var all sync.WaitGroup
	for _, k := range kinds {
		s.tallies[k.name] = &tally{}
		for range clients {
			all.Go(func() { s.client(looking, k.name) })
		}
	}
	all.Wait()
	s.report(os.Stdout)
	return errors.Join(s.failed...)
}

// search is what all clients share.
type search struct {
	h    *realdaemon.Host
	fail func()

	mu      sync.Mutex
	failed  []error
	tallies map[string]*tally
}

type tally struct {
	requests, aborted, cold int
	waits                   []time.Duration
}

// coldTime is what an answer takes that had to wait for an instance.
const coldTime = 3 * time.Millisecond

// client sends bursts of requests, with pauses that are now too short and now long enough for the service to fall asleep.
func (s *search) client(ctx context.Context, service string) {
	tr := &http.Transport{MaxIdleConnsPerHost: 4, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.h.Info.Gateway)
	}}
	defer tr.CloseIdleConnections()
	for ctx.Err() == nil {
		for range 1 + rand.IntN(20) {
			s.request(ctx, tr, service)
		}
		pause := rand.N(200 * time.Millisecond)
		if rand.IntN(3) == 0 {
			pause = 4*time.Second + rand.N(16*time.Second)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// request sends one; one in four is given up after a short time.
func (s *search) request(ctx context.Context, tr *http.Transport, service string) {
	if ctx.Err() != nil {
		return
	}
	patience, aborts := 2*limit, rand.IntN(4) == 0
	if aborts {
		patience = rand.N([]time.Duration{time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond}[rand.IntN(3)])
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	method, body := http.MethodGet, io.Reader(nil)
	if rand.IntN(2) == 0 {
		method, body = http.MethodPost, bytes.NewReader(make([]byte, rand.IntN(100_000)))
	}
	r, err := http.NewRequestWithContext(bounded, method, "http://"+service+".default."+s.h.Info.Domain, body)
	if err != nil {
		s.tell(err)
		return
	}
	begin := time.Now()
	overdue := time.AfterFunc(limit, func() { s.dump(service) })
	defer overdue.Stop()
	res, err := tr.RoundTrip(r)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	took := time.Since(begin)
	gaveUp := aborts && bounded.Err() != nil
	switch {
	case gaveUp:
	case err != nil:
		s.tell(fmt.Errorf("%s to %s after %v: %w", method, service, took, err))
	case res.StatusCode != http.StatusOK:
		s.tell(fmt.Errorf("%s to %s after %v: answer %s", method, service, took, res.Status))
	case took > limit:
		s.tell(fmt.Errorf("%s to %s took %v", method, service, took))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[service]
	t.requests++
	if gaveUp {
		t.aborted++
		return
	}
	if took > coldTime {
		t.cold++
	}
	t.waits = append(t.waits, took)
}

// tell notes what went wrong and ends the search.
func (s *search) tell(err error) {
	s.mu.Lock()
	s.failed = append(s.failed, err)
	s.mu.Unlock()
	s.fail()
}

// dump writes what the goroutines of the daemon do while a request hangs.
func (s *search) dump(service string) {
	s.tell(fmt.Errorf("a request to %s is not answered after %v", service, limit))
	res, err := http.Get("http://" + s.h.Info.Metrics + "/debug/pprof/goroutine?debug=2")
	if err != nil {
		s.tell(err)
		return
	}
	defer res.Body.Close()
	if _, err := io.Copy(os.Stderr, res.Body); err != nil {
		s.tell(err)
	}
}

func (s *search) report(out io.Writer) {
	fmt.Fprintln(out, "| service | requests | given up | above 3 ms | p50 | p99 | most |\n|---|---|---|---|---|---|---|")
	for _, k := range kinds {
		t := s.tallies[k.name]
		slices.SortFunc(t.waits, cmp.Compare[time.Duration])
		if n := len(t.waits); n > 0 {
			fmt.Fprintf(out, "| %s | %d | %d | %d | %.1f ms | %.1f ms | %.0f ms |\n", k.name, t.requests, t.aborted, t.cold, ms(t.waits[n/2]), ms(t.waits[n*99/100]), ms(t.waits[n-1]))
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
