package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// logFolder makes the log of an instance with so many bytes.
func logFolder(t *testing.T, e *endedLogs, id string, bytes int64) {
	t.Helper()
	dir := filepath.Join(e.dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "00000001.log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, bytes); err != nil { // a hole: nothing is written
		t.Fatal(err)
	}
}

func endedIDs(e *endedLogs) []string {
	var ids []string
	for _, one := range e.all {
		ids = append(ids, one.ID)
	}
	return ids
}

func isThere(t *testing.T, e *endedLogs, id string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(e.dir, id))
	return err == nil
}

func started() State { return State{Phase: PhaseGone, Started: time.Unix(1, 0)} }

func TestEndedLogsAreBounded(t *testing.T) {
	e := &endedLogs{dir: t.TempDir()}
	id := func(n int) string { return fmt.Sprintf("i%04d", n) }
	for n := range keptLogs + 3 {
		logFolder(t, e, id(n), 1)
		if err := e.end(Ended{ID: id(n), State: started(), At: time.Unix(int64(n), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.all) != keptLogs || e.all[0].ID != id(3) {
		t.Errorf("%d are kept, the oldest %s", len(e.all), e.all[0].ID)
	}
	if isThere(t, e, id(2)) || !isThere(t, e, id(3)) {
		t.Error("the oldest logs are not the ones that were removed")
	}
	logFolder(t, e, "big", keptLogBytes-2000)
	if err := e.end(Ended{ID: "big", State: started(), At: time.Unix(keptLogs+10, 0)}); err != nil {
		t.Fatal(err)
	}
	if ids := endedIDs(e); len(ids) > 30 || ids[len(ids)-1] != "big" || isThere(t, e, id(3)) {
		t.Errorf("beside a big log %d others are kept", len(ids)-1)
	}
}

func TestEndedLogsOutliveTheDaemon(t *testing.T) {
	e := &endedLogs{dir: t.TempDir()}
	for _, id := range []string{"old", "spare", "used", "torn", "young"} {
		logFolder(t, e, id, 0)
	}
	logFolder(t, e, "spoke", 5) // before it was started: a runtime's complaint
	for n, one := range []Ended{
		{ID: "young", State: started(), At: time.Unix(9, 0), Labels: map[string]string{"k": "v"}},
		{ID: "old", State: started(), At: time.Unix(2, 0)},
		{ID: "spare", State: State{Phase: PhaseGone}},
		{ID: "spoke", State: State{Phase: PhaseGone}, At: time.Unix(3, 0)},
		{ID: "none", State: started()},
	} {
		if err := e.end(one); err != nil {
			t.Fatal(n, err)
		}
	}
	if isThere(t, e, "spare") || isThere(t, e, "none") {
		t.Error("an instance that never ran has left a log")
	}
	if err := os.WriteFile(filepath.Join(e.dir, "torn", endedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := &endedLogs{dir: e.dir}
	for range 2 { // the second time everything is known
		if err := next.load(func(id string) bool { return id == "used" }); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(endedIDs(next)); got != "[old spoke young]" || next.all[2].Labels["k"] != "v" {
		t.Errorf("the next daemon knows %s, %+v", got, next.all)
	}
	if next.bytes == 0 || isThere(t, e, "torn") || !isThere(t, e, "used") {
		t.Errorf("%d bytes are kept; torn %v, used %v", next.bytes, isThere(t, e, "torn"), isThere(t, e, "used"))
	}
}

func TestLogOfAForgottenInstance(t *testing.T) {
	e := &endedLogs{dir: t.TempDir()}
	logFolder(t, e, "lost", 3)
	dir := filepath.Join(t.TempDir(), "lost")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.forgotten(dir); err != nil || len(e.all) > 0 {
		t.Fatalf("without a record: %v, %v", e.all, err)
	}
	record := `{"spec":{"id":"lost","labels":{"a":"b"}},"state":{"phase":"running","started":"2026-01-02T03:04:05Z","containers":[{"name":"app","phase":"running"}]}}`
	if err := os.WriteFile(filepath.Join(dir, "record.json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.forgotten(dir); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.all) != 1 {
		t.Fatalf("known: %+v", e.all)
	}
	one := e.all[0]
	if one.Labels["a"] != "b" || one.State.Phase != PhaseGone || one.State.Reason != ReasonHelperLost || one.State.Containers[0].Exit.Code != 137 || one.At.IsZero() {
		t.Errorf("it is remembered as %+v", one)
	}
}
