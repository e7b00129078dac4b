package sandbox_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// bare makes an instance of the process driver without a system call filter, so that nothing but the protection in question can stop
// what it tries.
func bare(t *testing.T, m *testManager, capability string, change ...func(*sandbox.Container)) *sandbox.Instance {
	t.Helper()
	return startReady(t, m, web(t, func(s *sandbox.Spec) {
		c := &s.Containers[0]
		c.SeccompUnconfined = true
		if capability != "" {
			c.CapAdd = []string{capability}
		}
		for _, f := range change {
			f(c)
		}
	}))
}

func needLandlock(t *testing.T) {
	t.Helper()
	needRoot(t)
	if helper.LandlockVersion() == 0 {
		t.Skip("this kernel has no Landlock")
	}
}

// TestLandlockKeepsMounts: even with the capability for it nobody can change mounts.
func TestLandlockKeepsMounts(t *testing.T) {
	needLandlock(t)
	i := bare(t, start(t, sandbox.Config{Runtime: "process"}), "SYS_ADMIN", func(c *sandbox.Container) { c.ReadOnlyRoot = true })
	expect(t, i, "ERR operation not permitted", "mount", "/tmp", "tmpfs")
	expect(t, i, "ERR operation not permitted", "remount", "/")
	expect(t, i, "ERR operation not permitted", "remount", "/proc/sys")
	expect(t, i, "ERR operation not permitted", "umount", "/etc/hosts")
	expect(t, i, "ERR", "write", "/x", "y")
	expect(t, i, "", "write", "/tmp/x", "y")
	expect(t, i, "", "write", "/dev/shm/x", "y")
	expect(t, i, "", "unshare", number(unix.CLONE_NEWNS)) // a control: the capability is there, and mounts are still nobody's
	expect(t, i, "ERR operation not permitted", "mount", "/tmp", "tmpfs")
}

// TestLandlockMakesNoDevices: a container may make pipes and files, but no device, although it has the capability by default.
func TestLandlockMakesNoDevices(t *testing.T) {
	needLandlock(t)
	i := bare(t, start(t, sandbox.Config{Runtime: "process"}), "")
	for _, dir := range []string{"/tmp", "/dev", "/"} {
		expect(t, i, "ERR permission denied", "node", filepath.Join(dir, "char"), number(unix.S_IFCHR))
		expect(t, i, "ERR permission denied", "node", filepath.Join(dir, "block"), number(unix.S_IFBLK))
		expect(t, i, "", "node", filepath.Join(dir, "pipe"), number(unix.S_IFIFO))
	}
}

// TestLandlockKeepsTheProgram: what becomes the container's program is this program at first. An image that names it as its own
// cannot run it, which would be the way to write to it.
func TestLandlockKeepsTheProgram(t *testing.T) {
	needLandlock(t)
	m := start(t, sandbox.Config{Runtime: "process"})
	i := create(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Args, s.Restart = []string{"/proc/self/exe", "cat"}, sandbox.RestartNever
	}))
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := until(t, i, "its end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
	if e := s.Containers[0].Exit; e == nil || e.Code != 127 {
		t.Errorf("exit %+v", e)
	}
	r := logs.Open(t.Context(), i.LogDir(), i.Done(), logs.Query{})
	defer r.Close()
	if said, err := io.ReadAll(r); err != nil || !strings.Contains(string(said), "permission denied") {
		t.Errorf("it says %q, %v", said, err)
	}
}

// TestNoNewPrivileges: a program that belongs to root and says so does not make root of an ordinary user.
func TestNoNewPrivileges(t *testing.T) {
	m := start(t, sandbox.Config{Runtime: "process"})
	root := filepath.Join(t.TempDir(), "root")
	if err := os.CopyFS(root, os.DirFS(rootFS(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "payload"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for allowed, want := range map[bool]string{false: "euid 1000", true: "euid 0"} {
		i := startReady(t, m, web(t, func(s *sandbox.Spec) {
			c := &s.Containers[0]
			c.Lowers, c.User, c.AllowPrivilegeEscalation = []string{root}, "web", allowed
		}))
		expect(t, i, want, "euid")
		expect(t, i, "NoNewPrivs:\t"+map[bool]string{false: "1", true: "0"}[allowed], "read", "/proc/self/status")
		expect(t, i, "Seccomp:\t2", "read", "/proc/self/status") // with no_new_privs or without
	}
}

// TestResourceLimits: limits that come from the process and not from control groups cannot be raised.
func TestResourceLimits(t *testing.T) {
	m := start(t, sandbox.Config{Runtime: "process"})
	i := startReady(t, m, web(t))
	expect(t, i, "ERR operation not permitted", "raise")
	limits := strings.Join(strings.Fields(inside(t, i, "read", "/proc/self/limits")), " ")
	for _, want := range []string{"Max core file size 0 0", "Max realtime priority 0 0", "Max nice priority 0 0"} {
		if !strings.Contains(limits, want) {
			t.Errorf("%q is not among the limits %s", want, limits)
		}
	}
}

// TestExecIsConfined: what is run in a container later is confined as its own program is, and in its control group.
func TestExecIsConfined(t *testing.T) {
	m := start(t, sandbox.Config{Runtime: "process"})
	i := startReady(t, m, web(t))
	run := func(args ...string) string {
		var out strings.Builder
		if _, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: append([]string{"/payload"}, args...), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got, want := run("read", "/proc/self/cgroup"), inside(t, i, "read", "/proc/self/cgroup"); !sameGroups(got, want) {
		t.Errorf("it is in the control groups\n%s, its container in\n%s", got, want)
	}
	if got := run("raise"); !strings.HasPrefix(got, "ERR") {
		t.Error("it raised its limits")
	}
	if got := run("unshare", number(unix.CLONE_NEWUSER)); !strings.HasPrefix(got, "ERR") {
		t.Error("it made a user namespace")
	}
	if helper.LandlockVersion() == 0 {
		return
	}
	if got := run("node", "/tmp/char", number(unix.S_IFCHR)); !strings.HasPrefix(got, "ERR permission denied") {
		t.Errorf("it made a device: %q", got)
	}
}

// sameGroups compares control groups but for the version 1 controller cpuset, which takes nobody.
func sameGroups(a, b string) bool {
	strip := func(s string) (out []string) {
		for line := range strings.Lines(s) {
			if !strings.Contains(line, "cpuset") {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return out
	}
	return strings.Join(strip(a), "\n") == strings.Join(strip(b), "\n")
}

// TestProcessSaysWhatItIs: the state of an instance and the log say that this is no isolation, and what there is.
func TestProcessSaysWhatItIs(t *testing.T) {
	var log lockedLog
	m := start(t, sandbox.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	i := create(t, m, web(t, func(s *sandbox.Spec) { s.Runtime = "process" }))
	create(t, m, web(t, func(s *sandbox.Spec) { s.Runtime = "process" }))
	is := i.State().Isolation
	for _, want := range []string{"no container isolation", "no users of its own", "no new privileges", "system call filter", "code you trust"} {
		if is.Runtime != "process" || !strings.Contains(is.Missing, want) {
			t.Errorf("isolation %+v, want %q", is, want)
		}
	}
	if v := helper.LandlockVersion(); v > 0 && !strings.Contains(is.Missing, fmt.Sprintf("Landlock (version %d)", v)) {
		t.Errorf("isolation %+v lacks the version of Landlock, %d", is, v)
	}
	if n := strings.Count(log.String(), "runs without container isolation"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, &log)
	}
	if is := create(t, m, web(t)).State().Isolation; is.Runtime != m.Info().Runtime || is.Missing != "" {
		t.Errorf("isolation %+v", is)
	}
}

// lockedLog keeps what is logged.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
