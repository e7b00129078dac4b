package logs

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// Query picks lines of a log and says how they are written. The zero value is every line of every container, as it was written.
type Query struct {
	Container string   // empty: all
	Streams   []Stream // empty: both
	// From is the time of the first line that is wanted, Until that of the first that is not any more; zero values do not bound.
	From, Until time.Time
	// Last, where it is set, keeps only so many of the lines that are there at the beginning.
	Last *int64
	// LimitBytes ends the text after so many bytes; zero does not.
	LimitBytes int64
	// Timestamps puts an RFC 3339 time with nanoseconds and a space before each line.
	Timestamps bool
}

// Open gives the lines of the log in dir as text, each with a newline. A log that does not exist is empty. Where done is not nil it
// goes on with new lines until done is closed and the log is read, or ctx ends, whose cause is the reader's error then. The caller
// closes the reader, which joins what feeds it.
func Open(ctx context.Context, dir string, done <-chan struct{}, q Query) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	t := &text{PipeReader: r, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		w.CloseWithError((&textWriter{query: q, out: w}).copy(ctx, dir, done))
	}()
	return t
}

// text joins the goroutine that writes to it when it is closed.
type text struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

func (t *text) Close() error {
	t.cancel()
	err := t.PipeReader.Close()
	<-t.ended
	return err
}

// textWriter writes the records that a query picks.
type textWriter struct {
	query   Query
	out     io.Writer
	held    []Record // the last lines, as long as the end of what was there is not reached
	lines   int64    // how many of them are whole
	inLine  bool
	written int64
	err     error
}

func (t *textWriter) copy(ctx context.Context, dir string, done <-chan struct{}) error {
	holding := t.query.Last != nil
	err := follow(ctx, dir, done, func() bool {
		if !holding {
			return true
		}
		holding = false
		for _, r := range t.held {
			if !t.write(r) {
				return false
			}
		}
		t.held = nil
		return true
	}, func(r Record) bool {
		switch {
		case !t.query.picks(r):
			return true
		case holding:
			t.hold(r)
			return true
		}
		return t.write(r)
	})
	return errors.Join(err, t.err)
}

// hold keeps a record if it may be of the last lines.
func (t *textWriter) hold(r Record) {
	t.held = append(t.held, r)
	if !r.Partial {
		t.lines++
	}
	for t.lines > *t.query.Last {
		if !t.held[0].Partial {
			t.lines--
		}
		t.held = t.held[1:]
	}
}

// write is false when no more is wanted.
func (t *textWriter) write(r Record) bool {
	line := t.format(r)
	if limit := t.query.LimitBytes; limit > 0 {
		line = line[:min(int64(len(line)), limit-t.written)]
	}
	var n int
	n, t.err = t.out.Write(line)
	t.written += int64(n)
	return t.err == nil && (t.query.LimitBytes == 0 || t.written < t.query.LimitBytes)
}

// format is a record as text: with its time in front, unless it goes on with a line, and a newline, unless the line goes on.
func (t *textWriter) format(r Record) []byte {
	line := make([]byte, 0, len(r.Data)+40)
	if t.query.Timestamps && !t.inLine {
		line = append(r.Time.UTC().AppendFormat(line, time.RFC3339Nano), ' ')
	}
	t.inLine = r.Partial
	line = append(line, r.Data...)
	if !r.Partial {
		line = append(line, '\n')
	}
	return line
}

func (q *Query) picks(r Record) bool {
	return (q.Container == "" || r.Container == q.Container) && (len(q.Streams) == 0 || slices.Contains(q.Streams, r.Stream)) &&
		!r.Time.Before(q.From) && (q.Until.IsZero() || r.Time.Before(q.Until))
}

// What Kubernetes keeps of a log as termination message.
const (
	messageLines = 80
	messageBytes = 2048
)

// Message is the end of what the query picks from the log in dir, as the message of how a container ended: at most 80 lines and
// 2048 bytes. The error is what ended the reading; the message is what was read until then.
func Message(dir string, q Query) (string, error) {
	r := OpenReader(dir)
	defer r.Close()
	var lines []string
	for {
		rec, err := r.Next()
		if err != nil {
			text := strings.Join(lines, "\n")
			text = text[max(0, len(text)-messageBytes):]
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")), err
		}
		if !q.picks(rec) {
			continue
		}
		lines = append(lines, string(rec.Data))
		if len(lines) > messageLines {
			lines = lines[1:]
		}
	}
}
