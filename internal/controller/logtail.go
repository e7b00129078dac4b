package controller

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// What Kubernetes keeps of a log as termination message.
const (
	tailLines = 80
	tailBytes = 2048
)

// Tail is the end of what a container wrote from one time to another (zero: open), as the message of how it ended.
func (m *madeBox) Tail(container string, from, to time.Time) string {
	r := logs.OpenReader(m.instance.LogDir())
	defer r.Close() //nolint:errcheck // only read
	var lines []string
	for {
		record, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				m.set.c.log.Warn("log of an instance", "instance", m.instance.ID(), "err", err)
			}
			break
		}
		if record.Container != container || record.Time.Before(from) || !to.IsZero() && !record.Time.Before(to) {
			continue
		}
		lines = append(lines, string(record.Data))
		if len(lines) > tailLines {
			lines = lines[1:]
		}
	}
	text := strings.Join(lines, "\n")
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return text
}
