package daemon

import (
	"strings"
	"testing"
)

// TestConnectionsWithin holds that connections, each with another to an instance, leave files to everything else.
func TestConnectionsWithin(t *testing.T) {
	for files, want := range map[uint64]int{256: 64, 1024: 256, 4096: 1024, 20_000: 7952, 65_536: connectionsAtMost, 1 << 20: connectionsAtMost, 1 << 63: connectionsAtMost} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

func TestMaxConnections(t *testing.T) {
	s := NewSettings()
	for _, step := range []struct {
		set     int
		files   uint64
		want    int
		verdict string
	}{
		{0, 20_000, 7952, VerdictOK},
		{0, 1024, 256, VerdictWarning},
		{5000, 20_000, 5000, VerdictOK},
		{9000, 20_000, 0, VerdictProblem},
		{20_000, 65_536, 20_000, VerdictOK}, // more than is taken by default
	} {
		s.MaxConnections = step.set
		got, err := s.maxConnections(step.files)
		if got != step.want || (err != nil) != (step.verdict == VerdictProblem) {
			t.Errorf("%+v: %d connections, %v", step, got, err)
		}
		if f := judgeFiles(s, step.files); f.Verdict != step.verdict || f.Verdict != VerdictOK && f.Try == "" {
			t.Errorf("%+v: %+v", step, f)
		}
	}
	s.MaxConnections = -1
	if err := s.validate(); err == nil || !strings.Contains(err.Error(), "max-connections") {
		t.Errorf("-1 connections: %v", err)
	}
}
