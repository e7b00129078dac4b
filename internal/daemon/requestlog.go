package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// The request log of an instance is what its pod shows as the log of the container queue-proxy.
const requestContainer = "queue-proxy"

const (
	requestQueue    = 4096    // lines that wait to be written; further ones are dropped and counted
	requestLogBytes = 1 << 20 // kept of one instance
	requestLogs     = 256     // instances whose request logs are kept; the longest silent are removed first
	openRequestLogs = 64      // files open at once
)

// requestLine is one line about a request that an instance answered.
type requestLine struct {
	key  string
	at   time.Time
	text []byte
}

// requestLog keeps the request logs of instances, one bounded log per instance below its folder. One goroutine, Run,
// writes; take never blocks.
type requestLog struct {
	dir     string
	logger  *slog.Logger
	queue   chan requestLine
	dropped prometheus.Counter
}

func newRequestLog(dir string, logger *slog.Logger, registerer prometheus.Registerer) (*requestLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("request log: %w", err)
	}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fairlead_daemon_dropped_request_log_lines_total", Help: "Lines of the request log that were dropped because the disk was too slow.",
	})
	registerer.MustRegister(dropped)
	return &requestLog{dir: dir, logger: logger, queue: make(chan requestLine, requestQueue), dropped: dropped}, nil
}

// take accepts a line. Lines about requests that reached no instance belong to no pod and go to the daemon's own log.
func (r *requestLog) take(backend, instance string, line []byte) {
	if instance == "" {
		r.logger.Info("request", "revision", backend, "line", strings.TrimSpace(string(line)))
		return
	}
	select {
	case r.queue <- requestLine{requestKey(backend, instance), time.Now(), slices.Clone(line)}:
	default:
		r.dropped.Inc()
	}
}

// requestKey names the log of an instance: the gateway names it by its pod, a backend by namespace and revision.
func requestKey(backend, instance string) string {
	namespace, _, _ := strings.Cut(backend, "/")
	return namespace + "." + instance
}

// logDir is where the log with a key is.
func (r *requestLog) logDir(key string) string { return filepath.Join(r.dir, filepath.Base(key)) }

// run writes lines until ctx ends.
func (r *requestLog) run(ctx context.Context, ready func()) error {
	ready()
	open := map[string]*logs.Writer{}
	defer func() {
		for _, w := range open {
			if err := w.Close(); err != nil {
				r.logger.Warn("request log", "err", err)
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-r.queue:
			if err := r.write(open, line); err != nil {
				r.logger.Warn("request log", "instance", line.key, "err", err)
			}
		}
	}
}

func (r *requestLog) write(open map[string]*logs.Writer, line requestLine) error {
	w := open[line.key]
	if w == nil {
		if len(open) >= openRequestLogs {
			for name, other := range open {
				if err := other.Close(); err != nil {
					return err
				}
				delete(open, name)
			}
		}
		if err := r.prune(); err != nil {
			return err
		}
		var err error
		if w, err = logs.OpenWriter(r.logDir(line.key), requestLogBytes); err != nil {
			return err
		}
		open[line.key] = w
	}
	record := logs.Record{Time: line.at, Stream: logs.Stdout, Container: requestContainer}
	var records []logs.Record
	for text := range strings.Lines(string(line.text)) {
		record.Data = []byte(strings.TrimSuffix(text, "\n"))
		records = append(records, record)
	}
	return w.Append(records...)
}

// prune removes the logs that were not written to for the longest time, so that a new one has its place.
func (r *requestLog) prune() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil || len(entries) < requestLogs {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var all []aged
	for _, e := range entries {
		info, err := newestFile(filepath.Join(r.dir, e.Name()))
		if err != nil {
			return err
		}
		all = append(all, aged{e.Name(), info})
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) })
	for _, old := range all[:len(all)-requestLogs+1] {
		if err := os.RemoveAll(filepath.Join(r.dir, old.name)); err != nil {
			return err
		}
	}
	return nil
}

// newestFile is when a folder's files were last changed.
func newestFile(dir string) (newest time.Time, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return newest, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return newest, err
		}
		newest = later(newest, info.ModTime())
	}
	return newest, nil
}
