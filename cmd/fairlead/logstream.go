package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// longestLine is the most of one line of log that is shown at once, in bytes.
const longestLine = 1 << 20

// queueProxy is the container that Knative's view of an instance has beside those of the user.
const queueProxy = "queue-proxy"

// firstContainer is what Knative calls the container of a service that has a single one without a name.
const firstContainer = "user-container"

// logQuery picks logs and says how a line is shown.
type logQuery struct {
	namespace string
	// selector and field choose instances; past are the services, or instances, whose instances that are gone are looked through too.
	selector, field string
	past            []string
	container       string
	options         corev1.PodLogOptions
	// history begins with what was written before.
	history bool
	// prefix puts the name of the instance before each line, colour makes the names easy to tell apart.
	prefix, colour bool
	// complain hears of logs that cannot be read; nil writes nothing.
	complain func(error)
}

func (q logQuery) problem(err error) {
	if q.complain != nil {
		q.complain(err)
	}
}

// logSource is one container of one instance.
type logSource struct{ namespace, pod, container string }

// sources are the containers of an instance whose logs the query wants: those of the user, unless it names one.
func (q logQuery) sources(pod *corev1.Pod) []logSource {
	var list []logSource
	for _, c := range pod.Spec.Containers {
		if q.container == c.Name || q.container == "" && c.Name != queueProxy {
			list = append(list, logSource{pod.Namespace, pod.Name, c.Name})
		}
	}
	return list
}

// render gives the line as it is printed, with its end.
func (q logQuery) render(source logSource, line []byte) []byte {
	if !q.prefix {
		return line
	}
	name := source.pod
	if source.container != firstContainer && q.container == "" {
		name += "/" + source.container
	}
	return append([]byte(paint(name, nameShade(name), q.colour)+" "), line...)
}

// nameShade gives each name one of the six colours that are readable on dark and light.
func nameShade(name string) shade {
	h := fnv.New32a()
	h.Write([]byte(name))
	return shade(fmt.Sprint(31 + h.Sum32()%6))
}

// logLines reads one log line by line. After next, line is valid until the following next.
type logLines struct {
	stream io.ReadCloser
	reader *bufio.Reader
	line   []byte
	err    error
}

func (c *client) openLog(ctx context.Context, source logSource, options corev1.PodLogOptions) (*logLines, error) {
	options.Container = source.container
	stream, err := c.kube.CoreV1().Pods(source.namespace).GetLogs(source.pod, &options).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of instance %s, container %s: %w", source.pod, source.container, err)
	}
	return &logLines{stream: stream, reader: bufio.NewReaderSize(stream, 64<<10)}, nil
}

// next reads a line, with a newline at its end; it is false at the end of the log, when err says what went wrong.
func (l *logLines) next() bool {
	l.line = l.line[:0]
	for {
		part, err := l.reader.ReadSlice('\n')
		l.line = append(l.line, part...)
		switch {
		case err == nil:
			return true
		case errors.Is(err, bufio.ErrBufferFull) && len(l.line) < longestLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			l.line = append(l.line, '\n')
			return true
		case len(l.line) > 0:
			l.line = append(l.line, '\n')
			return true
		}
		if !errors.Is(err, io.EOF) {
			l.err = err
		}
		return false
	}
}

func (l *logLines) close() { l.stream.Close() }

// stampedLog is a log whose lines begin with the time at which they were written.
type stampedLog struct {
	*logLines
	source logSource
	at     time.Time
	text   []byte
}

// next reads a line and its time. A line without one counts as written together with the line before.
func (l *stampedLog) next() bool {
	if !l.logLines.next() {
		return false
	}
	l.text = l.line
	if stamp, rest, found := bytes.Cut(l.line, []byte(" ")); found {
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
			l.at, l.text = at, rest
		}
	}
	return true
}

// mergeLogs calls emit with the lines of several logs in the order in which they were written.
func mergeLogs(logs []*stampedLog, emit func(*stampedLog) error) error {
	open := logs[:0:0]
	for _, l := range logs {
		if l.next() {
			open = append(open, l)
		}
	}
	for len(open) > 0 {
		first := 0
		for i := range open {
			if open[i].at.Before(open[first].at) {
				first = i
			}
		}
		if err := emit(open[first]); err != nil {
			return err
		}
		if !open[first].next() {
			open = append(open[:first], open[first+1:]...)
		}
	}
	return nil
}

// lineWriter writes lines as they come, or, where last is set, only so many of them at the end.
type lineWriter struct {
	query      logQuery
	timestamps bool
	last       *int64
	out        io.Writer
	kept       [][]byte
}

func (w *lineWriter) add(l *stampedLog) error {
	line := l.text
	if w.timestamps {
		line = l.line
	}
	line = w.query.render(l.source, line)
	if w.last == nil {
		_, err := w.out.Write(line)
		return err
	}
	// What is kept never grows above the sum of what each log was asked for, which is the last lines of each.
	w.kept = append(w.kept, bytes.Clone(line))
	return nil
}

// flush writes the lines that were kept back.
func (w *lineWriter) flush() error {
	if w.last == nil {
		return nil
	}
	kept := w.kept[max(0, len(w.kept)-int(*w.last)):]
	_, err := w.out.Write(bytes.Join(kept, nil))
	return err
}
