package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// LogOptions selects what Logs gives.
type LogOptions struct {
	Container  string    // empty: all
	Follow     bool      // wait for more until the instance is gone
	Tail       int       // only so many of the last lines; negative: all
	Since      time.Time // only lines from then on; zero: all
	Until      time.Time // only lines before; zero: all
	LimitBytes int64     // end after so many bytes; zero: no limit
	Timestamps bool      // RFC 3339 with nanoseconds and a space before each line
}

// Logs gives the log of an instance as text, one line for each line written, also when the instance is gone. Reading ends with
// io.EOF, with Follow only when the instance is gone, or with ctx's cause. The caller closes the reader. ErrNotFound if nothing
// is known of the instance.
func (m *Manager) Logs(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error) {
	dir := m.LogDir(id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("log of instance %s: %w", id, ErrNotFound)
	}
	done := closedChannel()
	if i, err := m.Get(id); err == nil && o.Follow {
		done = i.Done()
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.CloseWithError(writeLog(ctx, w, dir, done, o))
	}()
	return &logReader{PipeReader: r, cancel: cancel, ended: ended}, nil
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// logReader joins the goroutine that writes to it when it is closed.
type logReader struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

func (l *logReader) Close() error {
	l.cancel()
	err := l.PipeReader.Close()
	<-l.ended
	return err
}

func writeLog(ctx context.Context, w io.Writer, dir string, done <-chan struct{}, o LogOptions) error {
	skip := 0
	if o.Tail >= 0 {
		have, err := countLines(dir, o)
		if err != nil {
			return err
		}
		skip = max(0, have-o.Tail)
	}
	var werr error
	written := int64(0)
	err := logs.Follow(ctx, dir, done, func(r logs.Record) bool {
		if !o.selects(r) {
			return true
		}
		if skip > 0 {
			if !r.Partial {
				skip--
			}
			return true
		}
		line := o.line(r)
		if o.LimitBytes > 0 {
			line = line[:min(int64(len(line)), o.LimitBytes-written)]
		}
		var n int
		n, werr = w.Write(line)
		written += int64(n)
		return werr == nil && (o.LimitBytes == 0 || written < o.LimitBytes)
	})
	return errors.Join(err, werr)
}

func (o LogOptions) selects(r logs.Record) bool {
	return (o.Container == "" || r.Container == o.Container) && !r.Time.Before(o.Since) && (o.Until.IsZero() || r.Time.Before(o.Until))
}

func (o LogOptions) line(r logs.Record) []byte {
	var b bytes.Buffer
	if o.Timestamps {
		b.WriteString(r.Time.UTC().Format(time.RFC3339Nano))
		b.WriteByte(' ')
	}
	b.Write(r.Data)
	if !r.Partial {
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func countLines(dir string, o LogOptions) (int, error) {
	r := logs.OpenReader(dir)
	defer r.Close()
	n := 0
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if o.selects(rec) && !rec.Partial {
			n++
		}
	}
}

// keptLogs is how many instances that are gone have their log kept.
const keptLogs = 256

// pruneLogs removes the oldest logs of instances that are gone.
func (m *Manager) pruneLogs() error {
	root := m.LogDir("")
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	type log struct {
		id string
		at time.Time
	}
	var gone []log
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed in between
		}
		m.mu.Lock()
		_, used := m.owned[e.Name()]
		m.mu.Unlock()
		if !used {
			gone = append(gone, log{e.Name(), info.ModTime()})
		}
	}
	if len(gone) <= keptLogs {
		return nil
	}
	slices.SortFunc(gone, func(a, b log) int { return a.at.Compare(b.at) })
	var all []error
	for _, l := range gone[:len(gone)-keptLogs] {
		all = append(all, os.RemoveAll(m.LogDir(l.id)))
	}
	return errors.Join(all...)
}
