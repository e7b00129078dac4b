package sandbox_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// TestDaemon is no test: it is the daemon that the tests of adoption kill. It makes one instance in each state and waits.
func TestDaemon(t *testing.T) {
	dir := os.Getenv("SANDBOX_TEST_DAEMON")
	if dir == "" {
		t.Skip("only for the tests of adoption")
	}
	m := start(t, sandbox.Config{Dir: dir})
	create(t, m, web(t, func(s *sandbox.Spec) { s.ID = "spare"; s.Labels = map[string]string{"a": "b"} }))
	startReady(t, m, web(t, func(s *sandbox.Spec) { s.ID = "running" }))
	frozen := startReady(t, m, web(t, func(s *sandbox.Spec) { s.ID = "frozen" }))
	if err := frozen.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	draining := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.ID, s.Grace = "draining", time.Second
		s.Containers[0].Env = append(s.Containers[0].Env, "IGNORE_TERM=1")
	}))
	go draining.Stop(context.Background(), time.Hour)
	until(t, draining, "draining", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseDraining })
	if err := os.WriteFile(filepath.Join(dir, "settled"), []byte(rootFS(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	select {}
}

// killedDaemon runs TestDaemon as a process, kills it when its instances are in place, and gives its folder.
func killedDaemon(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDaemon$", "-test.v")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_DAEMON="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	waitFor(t, "the daemon", func() bool {
		select {
		case <-ended:
			t.Fatal("the daemon ended")
		default:
		}
		_, err := os.Stat(filepath.Join(dir, "settled"))
		return err == nil
	})
	cmd.Process.Kill()
	<-ended
	root, err := os.ReadFile(filepath.Join(dir, "settled"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(string(root)) }) // the killed one could not
	return dir
}

// waitFor looks again and again until ok; what it waits for is outside of this process and tells nobody.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestAdoption(t *testing.T) {
	dir := killedDaemon(t)
	m := start(t, sandbox.Config{Dir: dir})
	want := map[string]sandbox.Phase{"spare": sandbox.PhaseCreated, "running": sandbox.PhaseRunning, "frozen": sandbox.PhaseFrozen, "draining": sandbox.PhaseDraining}
	for id, phase := range want {
		i, err := m.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if s := i.State(); s.Phase != phase {
			t.Errorf("%s is %s, want %s", id, s.Phase, phase)
		}
	}
	running, _ := m.Get("running")
	if !running.State().Ready {
		t.Errorf("running is %+v", running.State())
	}
	if body, err := get(t, running, "/"); err != nil || body != "hello 1\n" {
		t.Errorf("running answers %q, %v", body, err)
	}
	spare, _ := m.Get("spare")
	if spare.Labels()["a"] != "b" {
		t.Error("the labels are lost")
	}
	if err := spare.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ready(t, spare)
	frozen, _ := m.Get("frozen")
	if err := frozen.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, frozen, "/"); err != nil {
		t.Error(err)
	}
	draining, _ := m.Get("draining")
	select {
	case <-draining.Done():
	case <-time.After(20 * time.Second):
		t.Error("the draining instance does not end")
	}
	// Exits and restarts work as before.
	get(t, running, "/exit?code=4")
	until(t, running, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
	expect(t, running, "ERR lookup", "lookup", "nowhere.invalid")
}

func TestKeepLeavesInstances(t *testing.T) {
	dir := t.TempDir()
	m := start(t, sandbox.Config{Dir: dir, Keep: true})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.ID = "kept" }))
	m.stop()
	<-i.Done()
	again := start(t, sandbox.Config{Dir: dir})
	kept, err := again.Get("kept")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, kept, "/"); err != nil {
		t.Error(err)
	}
}

// helperPid finds the helper of a folder.
func helperPid(t *testing.T, dir string) int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		args := strings.Split(string(data), "\x00")
		var opts struct{ Dir string }
		if len(args) > 2 && args[1] == sandbox.HelperArg && json.Unmarshal([]byte(args[2]), &opts) == nil && opts.Dir == dir {
			pid := 0
			for _, c := range strings.Split(p, "/")[2] {
				pid = pid*10 + int(c-'0')
			}
			return pid
		}
	}
	return 0
}

func TestHelperAndDaemonKilled(t *testing.T) {
	dir := killedDaemon(t)
	unix.Kill(helperPid(t, dir), unix.SIGKILL)
	waitFor(t, "the helper's end", func() bool { return helperPid(t, dir) == 0 })
	m := start(t, sandbox.Config{Dir: dir})
	if all := m.Instances(); len(all) != 0 {
		t.Errorf("%d instances were adopted from nobody", len(all))
	}
	startReady(t, m, web(t, func(s *sandbox.Spec) { s.ID = "running" }))
}

func TestHelperKilled(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	m, err := sandbox.New(sandbox.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- m.Run(t.Context(), func() { close(ready) }) }()
	<-ready
	i, err := m.Create(t.Context(), web(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	unix.Kill(helperPid(t, dir), unix.SIGKILL)
	if err := <-ended; err == nil {
		t.Error("Run ends without an error although its helper was killed")
	}
	<-i.Done()
	if s := i.State(); s.Reason != sandbox.ReasonHelperLost {
		t.Errorf("state %+v", s)
	}
	start(t, sandbox.Config{Dir: dir})
}

func TestInstanceKilled(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := create(t, m, web(t)) // killed as a spare
	pids := instancePids(t, i.ID())
	if len(pids) != 1 {
		t.Fatalf("a spare has processes %v", pids)
	}
	unix.Kill(pids[0], unix.SIGKILL)
	s := until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
	if s.Reason != sandbox.ReasonStartError {
		t.Errorf("state %+v", s)
	}
	i = startReady(t, m, web(t))
	if err := i.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	unix.Kill(instancePids(t, i.ID())[0], unix.SIGKILL) // killed while frozen: takes effect after
	if err := i.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
}

// instancePids lists the processes in the control groups of an instance.
func instancePids(t *testing.T, id string) []int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(data), "/"+id+"/") {
			continue
		}
		pid := 0
		for _, c := range strings.Split(p, "/")[2] {
			pid = pid*10 + int(c-'0')
		}
		pids = append(pids, pid)
	}
	return pids
}
