package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

func testRequestLog(t *testing.T) *requestLog {
	t.Helper()
	r, err := newRequestLog(t.TempDir(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readLog gives what a pod's log shows of one container.
func readLog(t *testing.T, p podLog) string {
	t.Helper()
	p.options.Stdout, p.options.Stderr = true, true
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(p.copyTo(t.Context(), writer, closedChannel())) }()
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRequestLogIsReadBack(t *testing.T) {
	r := testRequestLog(t)
	open := map[string]*logs.Writer{}
	for i := range 3 {
		if err := r.write(open, requestLine{"one", time.Unix(int64(i), 0), fmt.Appendf(nil, "request %d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.write(open, requestLine{"two", time.Unix(9, 0), []byte("elsewhere\n")}); err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, podLog{dir: r.logDir("one"), container: requestContainer}); got != "request 0\nrequest 1\nrequest 2\n" {
		t.Errorf("got %q", got)
	}
	tail := podLog{dir: r.logDir("one"), container: requestContainer, options: api.LogOptions{Stdout: true}}
	skip, err := tail.linesBefore(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	tail.skip = skip
	if got := readLog(t, tail); got != "request 2\n" {
		t.Errorf("the last line is %q", got)
	}
	limited := podLog{dir: r.logDir("one"), container: requestContainer, options: api.LogOptions{LimitBytes: 12, Timestamps: false}}
	if got := readLog(t, limited); got != "request 0\nre" {
		t.Errorf("12 bytes are %q", got)
	}
	stamped := podLog{dir: r.logDir("two"), container: requestContainer, options: api.LogOptions{Timestamps: true}}
	if got := readLog(t, stamped); got != "1970-01-01T00:00:09Z elsewhere\n" {
		t.Errorf("with time: %q", got)
	}
}

func TestRequestLogNeverBlocks(t *testing.T) {
	r := testRequestLog(t)
	for range requestQueue + 10 {
		r.take("revision", "one", []byte("x\n"))
	}
	if n := testutil.ToFloat64(r.dropped); n != 10 {
		t.Errorf("%v lines were dropped, want 10", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.run(ctx, func() {}); err != nil {
		t.Error(err)
	}
}

func TestRequestLogsAreBounded(t *testing.T) {
	r := testRequestLog(t)
	open := map[string]*logs.Writer{}
	for i := range requestLogs + 20 {
		if err := r.write(open, requestLine{fmt.Sprintf("instance-%04d", i), time.Unix(0, 0), []byte("x\n")}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > requestLogs || len(open) > openRequestLogs {
		t.Errorf("%d logs and %d open files, want at most %d and %d", len(entries), len(open), requestLogs, openRequestLogs)
	}
	if last := entries[len(entries)-1].Name(); !strings.HasSuffix(last, fmt.Sprintf("%04d", requestLogs+19)) {
		t.Errorf("the newest log was removed; the last is %s", last)
	}
}
