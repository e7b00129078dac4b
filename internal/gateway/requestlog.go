package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"text/template"
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

// LogRevision is the revision's part of a LogRecord. PodName and PodIP are the instance's.
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
