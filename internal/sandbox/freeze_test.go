package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

const noFreezer = "SANDBOX_TEST_NO_FREEZER"

// hideFreezer takes the freezer of control groups away from this process, in whose mount namespace it is alone: it shows all the other
// controllers in a new place over the old one. Nothing below the old one may be changed, because that is the machine's.
func hideFreezer() error {
	if os.Getenv(noFreezer) == "" {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	const dir = "/sys/fs/cgroup"
	if err := unix.Unmount(dir+"/freezer", unix.MNT_DETACH); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	trees := map[string]int{}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "freezer" {
			continue
		}
		if trees[e.Name()], err = unix.OpenTree(unix.AT_FDCWD, filepath.Join(dir, e.Name()), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for name, fd := range trees {
		to := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(to, 0o755), unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH), unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// TestFreezeWithoutFreezer runs TestFreezeBySignal on a machine like this one, but without a freezer of control groups.
func TestFreezeWithoutFreezer(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/sys/fs/cgroup/freezer/tasks"); err != nil {
		t.Skip("version 2 control groups can always freeze")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFreezeBySignal$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), noFreezer+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFreezeBySignal") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFreezeBySignal(t *testing.T) {
	if os.Getenv(noFreezer) == "" {
		t.Skip("only for TestFreezeWithoutFreezer")
	}
	if tree, err := cgroup.Open(); err != nil || tree.CanFreeze() {
		t.Fatalf("there is a freezer; %v", err)
	}
	dir := t.TempDir()
	m := start(t, sandbox.Config{Dir: dir, Keep: true})
	if missing := strings.Join(m.Info().Missing, " "); !strings.Contains(missing, "SIGSTOP") {
		t.Errorf("nothing is said of what is missing: %s", missing)
	}
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.ID = "stopped"
		side := s.Containers[0]
		side.Name, side.Env, side.Readiness = "side", []string{"PORT=9090"}, nil
		s.Containers = append(s.Containers, side)
	}))
	// Without a freezer crun does not exec into a container, so there are only the processes of the two containers; gVisor has several for each.
	if pids := instancePids(t, dir, "stopped"); len(pids) < 2 {
		t.Fatalf("the processes are %v", pids)
	}
	for range 2 {
		if err := i.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, pid := range instancePids(t, dir, "stopped") {
			if s := processState(pid); s != "T" {
				t.Errorf("process %d is in state %q, want T", pid, s)
			}
		}
		if err := i.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if body, err := get(t, i, "/"); err != nil || body != "hello 1\n" {
			t.Fatalf("thawed, it answers %q, %v", body, err)
		}
	}
	if err := i.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.stop() // and a new daemon finds it as it is
	m = start(t, sandbox.Config{Dir: dir})
	i, err := m.Get("stopped")
	if err != nil {
		t.Fatal(err)
	}
	if s := i.State(); s.Phase != sandbox.PhaseFrozen {
		t.Errorf("adopted as %+v", s)
	}
	if err := i.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, i, "/"); err != nil {
		t.Error(err)
	}
	if err := i.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if e := i.State().Containers[0].Exit; e == nil || e.Code != 0 {
		t.Errorf("exit %+v: a frozen instance was to end by SIGTERM", e)
	}
	m.stop()
	nothingLeft(t, dir)
}

// processState is the letter that /proc gives; empty if the process has ended.
func processState(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	rest := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return rest[0]
}
