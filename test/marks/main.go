// Command marks measures what Knative's own performance programs measure, with their limits, against a Fairlead of its own: a steady load, one
// that grows from zero, and one during which new revisions are rolled out, each of a program that takes 100 ms for an answer. It fails if a
// request does.
//
//	go run ./test/marks -binary bin/fairlead
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// setup says what is measured, and how much of it.
type setup struct {
	binary, program string
	rate            int           // requests per second of a steady load; one from zero grows to three times that
	duration        time.Duration // of each stage
	only            string        // the one service that is measured, "" is all
}

func main() {
	s := setup{}
	flag.StringVar(&s.binary, "binary", "bin/fairlead", "the fairlead to measure")
	flag.StringVar(&s.program, "program", "test/marks/testdata/sleeper", "folder with the program to run")
	flag.IntVar(&s.rate, "rate", 1000, "requests per second; a load from zero grows to three times that")
	flag.DurationVar(&s.duration, "duration", 30*time.Second, "how long each rate is kept")
	only := flag.String("only", "", "the one service that is measured: steady, steady-10, grown or rolled; empty is all")
	flag.Parse()
	s.only = *only
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, os.Stdout, s); err != nil {
		log.Fatalf("marks: %v", err)
	}
}

// host is the daemon that is measured, and its client.
type host struct {
	*realdaemon.Host
	client *http.Client
	image  string
}

// measure starts a daemon and prints a table.
func measure(ctx context.Context, out io.Writer, s setup) (err error) {
	home, err := os.MkdirTemp("", "marks")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	h := &host{Host: realdaemon.New(s.binary, home)}
	if err := h.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, h.Logged())
	}
	defer func() {
		if err = errors.Join(err, h.End(syscall.SIGTERM)); err != nil {
			err = fmt.Errorf("%w\n%s", err, h.Logged())
		}
	}()
	soon := []byte(`{"data":{"scale-to-zero-grace-period":"6s"}}`) // who measures from zero waits less for it
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-autoscaler", types.MergePatchType, soon, metav1.PatchOptions{}); err != nil {
		return err
	}
	if h.image, err = h.Build(ctx, s.program); err != nil {
		return err
	}
	h.client = h.Client()
	if transport, ok := h.client.Transport.(*http.Transport); ok {
		transport.MaxIdleConnsPerHost = 10 * s.rate
	}
	fmt.Fprintf(out, "# %d processors, %s, the program takes 100 ms\n\n| | requests | failed | instances | p50 | p95 | p99 | most | limit of p95 |\n|---|---|---|---|---|---|---|---|---|\n",
		runtime.NumCPU(), runtime.Version())
	for _, m := range marks(s) {
		if s.only != "" && s.only != m.name {
			continue
		}
		r, instances, err := h.run(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		fmt.Fprintf(out, "| %s | %d | %d | %d | %s | %s | %s | %s | %v |\n", m.what, len(r.took), len(r.failed), instances,
			ms(r.at(0.5)), ms(r.at(0.95)), ms(r.at(0.99)), ms(r.at(1)), m.limit)
		if len(r.failed) > 0 {
			return fmt.Errorf("%s: %d of %d requests failed: %w", m.what, len(r.failed), len(r.took), errors.Join(r.failed[:min(len(r.failed), 10)]...))
		}
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
