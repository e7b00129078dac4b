package sandbox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// states are those in which an instance, its helper or its daemon can be killed.
var states = []string{"spare", "starting", "ready", "frozen", "draining"}

// place makes an instance in a state, with that ID.
func place(t *testing.T, m *testManager, state string) *sandbox.Instance {
	t.Helper()
	i := create(t, m, web(t, func(s *sandbox.Spec) {
		s.ID, s.Grace, s.Labels = state, time.Second, map[string]string{"a": "b"}
		switch state {
		case "starting":
			s.Containers[0].Env = append(s.Containers[0].Env, "START_DELAY=2s")
		case "draining":
			s.Containers[0].Env = append(s.Containers[0].Env, "IGNORE_TERM=1")
		}
	}))
	if state == "spare" {
		return i
	}
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state == "starting" {
		return i
	}
	ready(t, i)
	switch state {
	case "frozen":
		if err := i.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
	case "draining":
		go i.Stop(context.Background(), time.Hour)
		until(t, i, "draining", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseDraining })
	}
	return i
}

// TestKilled kills the daemon, the helper, both, and the instance, with an instance in each state. All is taken over or cleared. The
// driver of our own has its own way to hold and to start a program.
func TestKilled(t *testing.T) {
	needRoot(t)
	t.Run("runtime", func(t *testing.T) { testKilled(t, "") })
	t.Run("process", func(t *testing.T) { testKilled(t, "process") })
}

func testKilled(t *testing.T, runtime string) {
	wait := func(t *testing.T, dir string) {
		waitFor(t, "the helper's end", func() bool { return helperPid(t, dir) == 0 })
	}
	for _, c := range []struct {
		victim string
		kill   func(t *testing.T) *victims
		after  func(t *testing.T, v *victims, state string)
	}{
		{"daemon", func(t *testing.T) *victims {
			dir := killedDaemon(t, time.Minute, runtime)
			return &victims{dir: dir, m: start(t, sandbox.Config{Dir: dir, Runtime: runtime})}
		}, takenOver},
		{"daemon and instances", func(t *testing.T) *victims {
			dir := killedDaemon(t, time.Minute, runtime)
			for _, state := range states {
				killInstance(t, dir, state)
			}
			return &victims{dir: dir, m: start(t, sandbox.Config{Dir: dir, Runtime: runtime})}
		}, ended},
		{"daemon and helper", func(t *testing.T) *victims {
			dir := killedDaemon(t, time.Minute, runtime)
			unix.Kill(helperPid(t, dir), unix.SIGKILL)
			wait(t, dir)
			return &victims{dir: dir, m: start(t, sandbox.Config{Dir: dir, Runtime: runtime})}
		}, missing},
		{"daemon, and none comes", func(t *testing.T) *victims {
			dir := killedDaemon(t, time.Second, runtime)
			wait(t, dir)
			nothingLeft(t, dir, "runtime")
			return &victims{dir: dir, m: start(t, sandbox.Config{Dir: dir, Runtime: runtime})}
		}, missing},
		{"helper", func(t *testing.T) *victims { return signalHelper(t, unix.SIGKILL, runtime) }, lost},
		{"helper, by SIGTERM", func(t *testing.T) *victims { return signalHelper(t, unix.SIGTERM, runtime) }, lost},
		{"instances", func(t *testing.T) *victims {
			v := &victims{dir: t.TempDir()}
			v.m = start(t, sandbox.Config{Dir: v.dir, Runtime: runtime})
			v.all = map[string]*sandbox.Instance{}
			for _, state := range states {
				v.all[state] = place(t, v.m, state)
				killInstance(t, v.dir, state)
			}
			return v
		}, ended},
	} {
		t.Run(c.victim, func(t *testing.T) {
			v := c.kill(t)
			for _, state := range states {
				t.Run(state, func(t *testing.T) { c.after(t, v, state) })
			}
			if v.m != nil {
				v.m.stop()
			}
			wait(t, v.dir)
			nothingLeft(t, v.dir)
		})
	}
}

// victims are the instances of one round, with the Manager that has them afterwards; nil: none does.
type victims struct {
	dir string
	m   *testManager
	all map[string]*sandbox.Instance
}

func (v *victims) get(t *testing.T, state string) *sandbox.Instance {
	t.Helper()
	if i := v.all[state]; i != nil {
		return i
	}
	i, err := v.m.Get(state)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// killInstance kills the first process of an instance.
func killInstance(t *testing.T, dir, id string) {
	t.Helper()
	pids := instancePids(t, dir, id)
	if len(pids) == 0 {
		t.Fatalf("%s has no process", id)
	}
	unix.Kill(pids[0], unix.SIGKILL)
}

// signalHelper gives a signal to a helper that holds an instance in each state, and waits for the Manager to end.
func signalHelper(t *testing.T, s unix.Signal, runtime string) *victims {
	t.Helper()
	v := &victims{dir: t.TempDir(), all: map[string]*sandbox.Instance{}}
	m, err := sandbox.New(sandbox.Config{Dir: v.dir, Runtime: runtime})
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- m.Run(t.Context(), func() { close(ready) }) }()
	<-ready
	for _, state := range states {
		v.all[state] = place(t, &testManager{Manager: m}, state)
	}
	unix.Kill(helperPid(t, v.dir), s)
	if err := <-ended; err == nil {
		t.Error("Run ends without an error although its helper is gone")
	}
	return v
}

// takenOver: the instance is as it was and goes on.
func takenOver(t *testing.T, v *victims, state string) {
	if _, err := v.m.Get(state); err != nil && state == "draining" {
		return // its second is over
	}
	i := v.get(t, state)
	want := map[string]sandbox.Phase{"spare": sandbox.PhaseCreated, "starting": sandbox.PhaseRunning, "ready": sandbox.PhaseRunning,
		"frozen": sandbox.PhaseFrozen, "draining": sandbox.PhaseDraining}[state]
	if s := i.State(); s.Phase != want && (state != "draining" || s.Phase != sandbox.PhaseGone) {
		t.Errorf("it is %s, want %s", s.Phase, want)
	}
	switch state {
	case "draining":
		until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
		return
	case "spare":
		if err := i.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	case "ready":
		if !i.State().Ready {
			t.Errorf("state %+v", i.State())
		}
	case "frozen":
		if err := i.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ready(t, i)
	if body, err := get(t, i, "/"); err != nil || body != "hello 1\n" {
		t.Errorf("it answers %q, %v", body, err)
	}
	if n := i.State().Containers[0].Restarts; n != 0 {
		t.Errorf("it was restarted %d times", n)
	}
}

// ended: the program of the instance was killed. What was running is restarted, the rest is gone.
func ended(t *testing.T, v *victims, state string) {
	if state == "draining" || state == "spare" {
		i := v.all[state]
		if i == nil { // adopted: it may be gone already
			waitFor(t, "the end", func() bool { _, err := v.m.Get(state); return err != nil })
			return
		}
		s := until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
		if state == "spare" && s.Reason != sandbox.ReasonStartError {
			t.Errorf("state %+v", s)
		}
		return
	}
	i := v.get(t, state)
	if state == "frozen" { // the death of a frozen one takes effect when it thaws
		if err := i.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
	if last := s.Containers[0].Last; last == nil || last.Signal != 9 {
		t.Errorf("last exit %+v", last)
	}
}

// lost: the helper is gone and the instance with it.
func lost(t *testing.T, v *victims, state string) {
	i := v.all[state]
	select {
	case <-i.Done():
	case <-time.After(time.Minute):
		t.Fatal("its owner does not end")
	}
	// What the helper could still tell before it ended may have come first.
	if s := i.State(); s.Phase != sandbox.PhaseGone || state == "ready" && s.Reason == "" {
		t.Errorf("state %+v", s)
	}
}

// missing: nobody has the instance, and its name is free.
func missing(t *testing.T, v *victims, state string) {
	if _, err := v.m.Get(state); err == nil {
		t.Error("it was adopted from nobody")
	}
	if pids := instancePids(t, v.dir, state); len(pids) != 0 {
		t.Errorf("processes %v are left", pids)
	}
	startReady(t, v.m, web(t, func(s *sandbox.Spec) { s.ID = state }))
}

// groupOf is the control group of a folder's instances.
func groupOf(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "/fairlead/" + hex.EncodeToString(sum[:4])
}

// nothingLeft checks that of a folder's instances no process, control group, file or mount is left. Folders may be named whose
// files only the next Manager removes.
func nothingLeft(t *testing.T, dir string, later ...string) {
	t.Helper()
	group := groupOf(dir)
	procs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if data, err := os.ReadFile(p); err == nil && strings.Contains(string(data), group) {
			t.Errorf("process %s is left", strings.Split(p, "/")[2])
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasSuffix(path, group) {
			t.Errorf("control group %s is left", path)
		}
		return nil
	})
	for _, sub := range []string{"instances", "runtime"} {
		if len(later) > 0 {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if inner, err := os.ReadDir(filepath.Join(dir, sub, e.Name())); err != nil || len(inner) > 0 || sub == "instances" {
				t.Errorf("%s/%s is left", sub, e.Name())
			}
		}
	}
	mounts, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if data, err := os.ReadFile(m); err == nil && strings.Contains(string(data), " "+dir+"/") {
			t.Errorf("mounts are left, seen by process %s of %s", strings.Split(m, "/")[2], strconv.Quote(dir))
		}
	}
}
