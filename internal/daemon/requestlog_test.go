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
func readLog(t *testing.T, dir string, o api.LogOptions) string {
	t.Helper()
	o.Stdout, o.Stderr = true, true
	reader := logs.Open(t.Context(), dir, nil, logQuery(requestContainer, o))
	defer reader.Close()
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
	for _, c := range []struct {
		key     string
		options api.LogOptions
		want    string
	}{
		{"one", api.LogOptions{TailLines: -1}, "request 0\nrequest 1\nrequest 2\n"},
		{"one", api.LogOptions{TailLines: 1}, "request 2\n"},
		{"one", api.LogOptions{TailLines: -1, LimitBytes: 12}, "request 0\nre"},
		{"two", api.LogOptions{TailLines: -1, Timestamps: true}, "1970-01-01T00:00:09Z elsewhere\n"},
	} {
		if got := readLog(t, r.logDir(c.key), c.options); got != c.want {
			t.Errorf("%s with %+v: %q, want %q", c.key, c.options, got, c.want)
		}
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
