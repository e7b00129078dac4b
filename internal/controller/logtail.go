package controller

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// Tail is the end of what a container wrote from one time to another (zero: open), as the message of how it ended.
func (m *madeBox) Tail(container string, from, to time.Time) string {
	text, err := logs.Message(m.instance.LogDir(), logs.Query{Container: container, From: from, Until: to})
	if err != nil {
		m.set.c.log.Warn("log of an instance", "instance", m.instance.ID(), "err", err)
	}
	return text
}
