package sandbox_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// TestDaemon is no test: it is the daemon that the tests of adoption kill. It makes one instance in each state and waits.
func TestDaemon(t *testing.T) {
	dir := os.Getenv("SANDBOX_TEST_DAEMON")
	if dir == "" {
		t.Skip("only for the tests of adoption")
	}
	orphan, err := time.ParseDuration(os.Getenv("SANDBOX_TEST_ORPHAN"))
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, sandbox.Config{Dir: dir, OrphanAfter: orphan, Runtime: os.Getenv("SANDBOX_TEST_RUNTIME")})
	for _, state := range states {
		phase := place(t, m, state).State().Phase
		waitFor(t, "the record of "+state, func() bool { // it is written down after it is told
			data, err := os.ReadFile(filepath.Join(dir, "instances", state, "record.json"))
			var rec struct{ State sandbox.State }
			return err == nil && json.Unmarshal(data, &rec) == nil && rec.State.Phase == phase
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "settled"), []byte(rootFS(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	select {}
}

// killedDaemon runs TestDaemon as a process, kills it when its instances are in place, and gives its folder. The helper ends by itself
// after the given time. An empty runtime is the machine's own choice.
func killedDaemon(t *testing.T, orphan time.Duration, runtime string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDaemon$", "-test.v")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_DAEMON="+dir, "SANDBOX_TEST_ORPHAN="+orphan.String(), "SANDBOX_TEST_RUNTIME="+runtime)
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
	timeout := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestAdoptedWorkAsBefore(t *testing.T) {
	dir := killedDaemon(t, time.Minute, "")
	m := start(t, sandbox.Config{Dir: dir})
	spare, err := m.Get("spare")
	if err != nil {
		t.Fatal(err)
	}
	if spare.Labels()["a"] != "b" {
		t.Error("the labels are lost")
	}
	running, err := m.Get("ready")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := get(t, running, "/"); err != nil || body != "hello 1\n" {
		t.Errorf("running answers %q, %v", body, err)
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

// instancePids lists the processes in the control groups of an instance.
func instancePids(t *testing.T, dir, id string) []int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(data), groupOf(dir)+"/"+id+"/") {
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
