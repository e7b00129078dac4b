package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/template"
	"time"
)

// LogRecord is what a request log template sees, as in config-observability.
type LogRecord struct {
	Request  *http.Request
	Response *LogResponse
	Revision *LogRevision
	TraceID  string
}

// LogResponse is the answer's part of a LogRecord. Latency is in seconds, Size in bytes of body.
type LogResponse struct {
	Code    int
	Size    int
	Latency float64
}

// LogRevision is the revision's part of a LogRecord. PodName is the instance; it has no address of its own, PodIP is empty.
type LogRevision struct {
	Name, Namespace, Service, Configuration, PodName, PodIP string
}

func parseRequestLog(text string) (*template.Template, error) {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	t, err := template.New("request-log").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("request log template: %w", err)
	}
	return t, nil
}

// countedBody counts the bytes of an answer.
type countedBody struct {
	io.ReadCloser
	x *exchange
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.size.Add(int64(n))
	return n, err
}

// writeLog writes the line of an exchange that has ended. A template that does not fit the record says so in place of the line.
func (x *exchange) writeLog(t *template.Template, r *http.Request) {
	instance := ""
	if x.instance != nil {
		instance = x.instance.id
	}
	rec := LogRecord{
		Request:  r,
		Response: &LogResponse{Code: x.status, Size: int(x.size.Load()), Latency: time.Since(x.arrived).Seconds()},
		Revision: &LogRevision{
			Name:          x.spec.revision(),
			Namespace:     x.spec.Namespace,
			Service:       x.spec.Service,
			Configuration: x.spec.Configuration,
			PodName:       instance,
		},
		TraceID: traceID(x.parent),
	}
	var line bytes.Buffer
	if err := t.Execute(&line, rec); err != nil {
		line.Reset()
		fmt.Fprintf(&line, "request log template: %v: method: %s, response code: %d, url: %s\n", err, r.Method, x.status, r.URL)
	}
	x.g.cfg.RequestLog(x.backend.name, instance, line.Bytes())
}
