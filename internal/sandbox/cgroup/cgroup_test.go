package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestPairs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("oom_kill 3\nunder_oom\nbad x\n\nfrozen 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readPairs(file)
	if err != nil || len(got) != 2 || got["oom_kill"] != 3 || got["frozen"] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestLifeOfAGroup makes, fills, freezes, limits, empties and removes a real group.
func TestLifeOfAGroup(t *testing.T) {
	tree, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 || tree.Mode() == None {
		t.Skip("no control groups to work with")
	}
	path := filepath.Join("/fairlead-test", filepath.Base(t.TempDir())+time.Now().Format("150405.000000"))
	if err := tree.Make(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Remove("/fairlead-test", time.Second); err != nil {
			t.Error(err)
		}
	})
	if err := tree.Limit(path, Limits{MemoryBytes: 64 << 20, CPUQuota: 50_000, CPUPeriod: 100_000, CPUShares: 512, Pids: 10}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	if err := tree.Enter(path, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if pids, err := tree.Procs("/fairlead-test"); err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := tree.Freeze(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if frozen, err := tree.Frozen(path); err != nil || !frozen {
		t.Errorf("frozen %v, %v", frozen, err)
	}
	if u, err := tree.Usage(path); err != nil || u.Pids != 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := tree.Remove(path, 0); err == nil {
		t.Error("a group with a process was removed")
	}
	if err := tree.Kill("/fairlead-test", 5*time.Second); err != nil { // frozen as it is
		t.Fatal(err)
	}
	<-ended
	if pids, err := tree.Procs(path); err != nil || len(pids) != 0 {
		t.Errorf("processes %v, %v", pids, err)
	}
}
