package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// ordinaryTests are run again by TestOrdinaryUser. Those of limits need control groups, which it gives to the user.
const ordinaryTests = "^(TestDriverContract|TestExec|TestExecTerminal|TestCopy|TestOrdinaryLimits|TestPidsLimit|TestProcessSaysWhatItIs|TestLandlock.*|TestResourceLimits|TestExecIsConfined)$"

// TestOrdinaryUser runs tests again as an ordinary user of this machine, made for this, in control groups that are delegated to it.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"useradd", "newuidmap", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	u := newUser(t)
	program := filepath.Join(u.HomeDir, "tests")
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	enter := delegate(t, uid, gid)

	// The shell waits until it is in its groups, and becomes the tests.
	cmd := exec.Command("/bin/sh", "-c", `read go; exec "$@"`, "sh", program, "-test.run", ordinaryTests, "-test.v")
	cmd.Dir = u.HomeDir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + u.HomeDir, "USER=" + u.Username, "TMPDIR=" + u.HomeDir,
		asUserDir + "=" + u.HomeDir, asUserPayload + "=" + rootFS(t)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	enter(cmd.Process.Pid)
	fmt.Fprintln(stdin, "go")
	stdin.Close()
	err = cmd.Wait()
	for line := range strings.Lines(out.String()) {
		if skip := strings.TrimSpace(line); strings.HasPrefix(skip, "--- ") {
			t.Log(skip)
		}
	}
	if err != nil || strings.Contains(out.String(), "no tests to run") {
		t.Errorf("as an ordinary user: %v\n%s", err, &out)
	}
}

// newUser makes a user with ranges of subordinate users.
func newUser(t *testing.T) *user.User {
	t.Helper()
	name := "fls" + strconv.Itoa(os.Getpid())
	var out []byte
	waitFor(t, "useradd", func() bool { // somebody else may be making one
		var err error
		out, err = exec.Command("useradd", "--create-home", name).CombinedOutput()
		return err == nil || !strings.Contains(string(out), "cannot lock")
	})
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("useradd: %v: %s", err, out)
	}
	t.Cleanup(func() {
		waitFor(t, "userdel", func() bool {
			out, err := exec.Command("userdel", "--remove", name).CombinedOutput()
			if err == nil || strings.Contains(string(out), "mail spool") {
				return true
			}
			if !strings.Contains(string(out), "cannot lock") && !strings.Contains(string(out), "currently used") {
				t.Errorf("userdel: %v: %s", err, out)
				return true
			}
			return false
		})
	})
	return u
}

// delegate makes control groups that belong to a user, as systemd does for its units, and gives what moves a process there.
func delegate(t *testing.T, uid, gid int) func(pid int) {
	t.Helper()
	const top = "/sys/fs/cgroup"
	name := "fairlead-ordinary-" + strconv.Itoa(os.Getpid())
	parents := []string{top}
	if _, err := os.Stat(filepath.Join(top, "cgroup.controllers")); err != nil {
		parents = nil
		for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "freezer"} {
			real, err := filepath.EvalSymlinks(filepath.Join(top, c))
			if err != nil {
				t.Skipf("this machine has no controller %s", c)
			}
			if !slices.Contains(parents, real) {
				parents = append(parents, real)
			}
		}
	} else if data, err := os.ReadFile(filepath.Join(top, "cgroup.subtree_control")); err != nil || !strings.Contains(string(data), "memory") {
		t.Skipf("version 2 without controllers below the root: %q, %v", data, err)
	}
	var dirs []string
	for _, parent := range parents {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			waitFor(t, "the end of "+dir, func() bool { return removeGroups(dir) == nil })
		})
		for _, file := range []string{"", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"} {
			if err := os.Chown(filepath.Join(dir, file), uid, gid); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	return func(pid int) {
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				t.Error(err)
			}
		}
	}
}

func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

// TestOrdinaryLimits holds an ordinary user's instances to their limits.
func TestOrdinaryLimits(t *testing.T) {
	if os.Getenv(asUserDir) == "" {
		t.Skip("only for TestOrdinaryUser")
	}
	for _, runtime := range sharingKernel() {
		t.Run(runtime, func(t *testing.T) {
			m := start(t, sandbox.Config{Runtime: runtime})
			if info := m.Info(); info.Cgroups == "none" || strings.Contains(strings.Join(info.Missing, " "), "not enforced") {
				t.Fatalf("%+v", info)
			}
			i := startReady(t, m, web(t, func(s *sandbox.Spec) {
				s.Containers[0].Resources = sandbox.Resources{MemoryBytes: 64 << 20, Pids: 40, CPUMillis: 500}
			}))
			if u, err := i.Usage(); err != nil || u.MemoryBytes == 0 || u.Pids == 0 {
				t.Errorf("usage %+v, %v", u, err)
			}
			expect(t, i, "resource temporarily unavailable", "fork", "100")
			get(t, i, "/eat?mb=200") //nolint:errcheck // it dies of it
			s := until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
			if last := s.Containers[0].Last; last == nil || last.Reason != sandbox.ReasonOOMKilled {
				t.Errorf("last exit %+v", last)
			}
			if err := i.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := i.Thaw(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := i.Stop(t.Context(), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		})
	}
}
