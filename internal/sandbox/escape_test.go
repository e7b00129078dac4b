package sandbox_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// attempt is one try to get out of an instance, or to change what is not its own. It must be refused.
type attempt struct {
	name string
	what string
	args []string
	// look, where set, takes the place of what: it gives what could be seen or done; empty if nothing.
	look func(*testing.T, *sandbox.Instance) string
}

func number(n uint64) string { return fmt.Sprint(n) }

// attempts are made as root inside the instance, with the default settings.
func attempts(hostPort string) []attempt {
	call := func(name string, args ...uint64) attempt {
		a := attempt{name: "system call " + name, what: "syscall"}
		for _, n := range args {
			a.args = append(a.args, number(n))
		}
		return a
	}
	try := func(name, what string, args ...string) attempt { return attempt{name: name, what: what, args: args} }
	look := func(name string, look func(*testing.T, *sandbox.Instance) string) attempt {
		return attempt{name: name, look: look}
	}
	bad := uint64(1) // a pointer that is none: a call that is let through answers EFAULT or EINVAL, not EPERM or ENOSYS
	return []attempt{
		try("mount a tmpfs", "mount", "/tmp", "tmpfs"),
		try("mount proc anew", "mount", "/tmp", "proc"),
		try("remount control groups writable", "remount", "/sys/fs/cgroup"),
		try("a new file among control groups", "write", "/sys/fs/cgroup/new", "x"),
		try("remount `/proc/sys` writable", "remount", "/proc/sys"),
		try("unmount what masks `/proc/kcore`", "umount", "/proc/kcore"),
		try("new user namespace", "unshare", number(unix.CLONE_NEWUSER)),
		try("new mount namespace", "unshare", number(unix.CLONE_NEWNS)),
		try("new network namespace", "unshare", number(unix.CLONE_NEWNET)),
		call("clone with a user namespace", unix.SYS_CLONE, unix.CLONE_NEWUSER|17, 0),
		call("setns", unix.SYS_SETNS, 0, 0),
		call("bpf", unix.SYS_BPF, 0, bad, 8),
		call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, bad, 0, 0),
		call("keyctl", unix.SYS_KEYCTL, 0, 0),
		call("add_key", unix.SYS_ADD_KEY, bad, bad),
		call("init_module", unix.SYS_INIT_MODULE, bad, 1, bad),
		call("finit_module", unix.SYS_FINIT_MODULE, 0, bad, 0),
		call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0),
		call("reboot", unix.SYS_REBOOT, 0xfee1dead, 672274793, 0),
		call("swapoff", unix.SYS_SWAPOFF, bad),
		call("settimeofday", unix.SYS_SETTIMEOFDAY, bad, 0),
		call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, bad, 0),
		call("userfaultfd", unix.SYS_USERFAULTFD, 0),
		call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, bad),
		call("process_vm_readv", unix.SYS_PROCESS_VM_READV, 1, bad, 1, bad, 1),
		call("fsopen", unix.SYS_FSOPEN, bad, 0),
		call("pivot_root", unix.SYS_PIVOT_ROOT, bad, bad),
		call("quotactl", unix.SYS_QUOTACTL, 0, bad, 0, 0),
		call("socket of AF_VSOCK", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		call("socket of AF_ALG", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		try("read a disk through mknod", "mknod", "/tmp/disk", number(unix.Mkdev(254, 0))),
		try("set the host name", "sethostname"),
		try("write a sysctl", "write", "/proc/sys/kernel/core_pattern", "|/tmp/x"),
		try("press sysrq", "write", "/proc/sysrq-trigger", "b"),
		try("raise the memory limit", "write", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
		try("the same in version 2", "write", "/sys/fs/cgroup/memory.max", "max"),
		try("a release agent", "write", "/sys/fs/cgroup/memory/release_agent", "/tmp/x"),
		try("read kernel memory", "read", "/proc/kcore"),
		try("write a firmware path", "write", "/sys/module/firmware_class/parameters/path", "/tmp"),
		try("lower one's own OOM score", "write", "/proc/self/oom_score_adj", "-1000"),
		try("signal a process of the machine", "kill", fmt.Sprint(os.Getpid())),
		look("leave by chroot", chrootLeads),
		look("see processes of the machine", otherProcesses),
		look("see mounts of the machine", otherMounts),
		look("see network interfaces of the machine", otherInterfaces),
		look("see the sockets of daemon and helper", func(t *testing.T, i *sandbox.Instance) string {
			return only(inside(t, i, "read", "/proc/net/unix"), func(line string) bool { return strings.Contains(line, ".sock") })
		}),
		look("run unfiltered, or gain privileges", func(t *testing.T, i *sandbox.Instance) string {
			got := inside(t, i, "read", "/proc/self/status")
			for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t00000000a80425fb"} {
				if !strings.Contains(got, want) {
					return got
				}
			}
			return only(got, func(line string) bool {
				return strings.HasPrefix(line, "CapAmb") && !strings.HasSuffix(line, "\t0000000000000000")
			})
		}),
		try("a service on the machine's loopback", "dial", "tcp", hostPort),
		try("the cloud's metadata", "dial", "tcp", "169.254.169.254:80"),
		try("a datagram to the outside", "talk", "udp", "8.8.8.8:123", "x"),
	}
}

// only keeps some lines.
func only(text string, keep func(string) bool) string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); keep(line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "; ")
}

// chrootLeads goes the classic way out of a chroot, in a process of its own, which is lost then. It comes to the container's own root.
func chrootLeads(t *testing.T, i *sandbox.Instance) string {
	var out bytes.Buffer
	code, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "chroot"}, Stdout: &out})
	if err != nil {
		return err.Error()
	}
	got := out.String()
	if strings.Contains(got, "home") || code == 0 && got != "" && !strings.Contains(got, "payload") {
		return "it led to " + got
	}
	return ""
}

func otherProcesses(t *testing.T, i *sandbox.Instance) string {
	var seen []string
	for _, name := range strings.Fields(inside(t, i, "list", "/proc")) {
		if strings.Trim(name, "0123456789") == "" && name != "1" {
			seen = append(seen, name)
		}
	}
	return strings.Join(seen, " ")
}

func otherMounts(t *testing.T, i *sandbox.Instance) string {
	mounts := inside(t, i, "read", "/proc/self/mountinfo")
	if !strings.Contains(mounts, " / ") {
		return "no mounts can be read: " + mounts // then this attempt says nothing
	}
	return only(mounts, func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 4 && strings.Contains(f[4], "instances")
	})
}

func otherInterfaces(t *testing.T, i *sandbox.Instance) string {
	lines := inside(t, i, "read", "/proc/net/dev")
	if !strings.Contains(lines, "Inter-|   Receive") {
		return "no interfaces can be read: " + lines
	}
	return only(lines, func(line string) bool {
		line = strings.TrimSpace(line)
		return !strings.Contains(line, "|") && line != "" && !strings.HasPrefix(line, "lo:")
	})
}

// Outcomes of an attempt.
const (
	stopped   = "stopped"
	emulated  = "own kernel"
	gotaway   = "**not stopped**"
	notTested = "?"
)

// emulation lists what gVisor's kernel lets an instance do to itself, and why that is none of the machine's business.
var emulation = map[string]string{
	"lower one's own OOM score": "it is a number that gVisor keeps and nothing reads; the score of its own processes is as before",
}

// through tries it and says what came of it; empty if it was stopped.
func (a attempt) through(t *testing.T, i *sandbox.Instance) string {
	if a.look != nil {
		return a.look(t, i)
	}
	got := inside(t, i, a.what, a.args...)
	if strings.HasPrefix(got, "ERR") && !strings.Contains(got, "bad address") && !strings.Contains(got, "invalid argument") {
		return ""
	}
	return "it went well: " + got
}

// make gives the outcome of an attempt. What is not stopped fails the test.
func (a attempt) make(t *testing.T, i *sandbox.Instance, runtime string) string {
	got := a.through(t, i)
	switch {
	case got == "":
		return stopped
	case runtime == "runsc" && emulation[a.name] != "":
		return emulated
	}
	t.Errorf("%s: %s", a.name, got)
	return gotaway
}

// TestAttemptsCanSucceed: an instance that is given the means gets through, so that it is no wonder of the attempts that the others do not.
func TestAttemptsCanSucceed(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		c := &s.Containers[0]
		c.SeccompUnconfined, c.AllowPrivilegeEscalation, c.CapAdd = true, true, []string{"SYS_ADMIN"}
		s.UserNamespace = sandbox.UsersOff
	}))
	works := []string{"mount a tmpfs", "mount proc anew", "new user namespace", "new mount namespace", "new network namespace",
		"set the host name", "run unfiltered, or gain privileges"}
	for _, a := range attempts("127.0.0.1:1") {
		if slices.Contains(works, a.name) && a.through(t, i) == "" {
			t.Errorf("%s: stopped, although nothing is to stop it", a.name)
		}
	}
}

// escape makes all attempts in an instance of a runtime.
func escape(t *testing.T, runtime string) column {
	l, err := net.Listen("tcp4", "127.0.0.1:0") // what the instance must not reach
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	m := start(t, sandbox.Config{Dir: dir, Runtime: runtime})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].Resources.MemoryBytes = 256 << 20 }))
	before := scores(t, dir, i.ID())
	results := column{}
	for _, a := range attempts(l.Addr().String()) {
		results[a.name] = a.make(t, i, runtime)
	}
	if after := scores(t, dir, i.ID()); after != before {
		t.Errorf("the OOM scores on the machine are %s, before %s", after, before)
	}
	return results
}

// scores are the different OOM scores that the machine gives the processes of an instance.
func scores(t *testing.T, dir, id string) string {
	var out []string
	for _, pid := range instancePids(t, dir, id) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		if s := strings.TrimSpace(string(data)); err == nil && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// installed lists the OCI runtimes that this machine has.
func installed() []string {
	var out []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		for _, name := range []string{"crun", "runc", "runsc"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil && !strings.Contains(strings.Join(out, " "), name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func TestPidsLimit(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].Resources.Pids = 60 }))
	expect(t, i, "resource temporarily unavailable", "fork", "100")
	if _, err := get(t, i, "/"); err != nil {
		t.Error(err)
	}
}

func TestInstancesAreApart(t *testing.T) {
	m := start(t, sandbox.Config{})
	a, b := startReady(t, m, web(t)), startReady(t, m, web(t))
	expect(t, a, "", "write", "/tmp/mine", "x")
	expect(t, b, "ERR", "read", "/tmp/mine")
	expect(t, b, "ERR", "read", "/mine")
	u, err := a.Usage()
	if err != nil || u.MemoryBytes == 0 || u.Pids == 0 || u.CPU == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// TestDriverContract is what every driver promises.
func TestDriverContract(t *testing.T) {
	for _, runtime := range everyDriver() {
		t.Run(runtime, func(t *testing.T) {
			m := start(t, sandbox.Config{Runtime: runtime})
			if m.Info().Runtime != runtime {
				t.Errorf("the runtime in use is %s", m.Info().Runtime)
			}
			i := create(t, m, web(t))
			if _, err := i.Dial(t.Context(), 8080); err == nil {
				t.Error("user code runs in a spare")
			}
			if err := i.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			ready(t, i)
			if err := i.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := i.Thaw(t.Context()); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "hostname"}, Stdout: &out})
			if err != nil || code != 0 || out.String() != i.ID() {
				t.Errorf("exec: %d, %v, %q", code, err, out.String())
			}
			get(t, i, "/exit?code=5")
			s := until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
			if s.Containers[0].Last.Code != 5 {
				t.Errorf("exit %+v", s.Containers[0].Last)
			}
			if err := i.Stop(t.Context(), -1); err != nil {
				t.Fatal(err)
			}
			if e := i.State().Containers[0].Exit; e == nil || e.Code != 0 {
				t.Errorf("exit %+v", e)
			}
			_, err = m.Create(t.Context(), web(t, func(s *sandbox.Spec) { s.Containers[0].Args = []string{"no-such-program"} }))
			if err == nil || !strings.Contains(err.Error(), "no-such-program") {
				t.Errorf("missing program: %v", err)
			}
		})
	}
}
