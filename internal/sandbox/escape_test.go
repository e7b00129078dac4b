package sandbox_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	bad := uint64(1) // a pointer that is none: a call that is let through answers EFAULT or EINVAL, not EPERM or ENOSYS
	return []attempt{
		{"mount a tmpfs", "mount", []string{"/tmp", "tmpfs"}},
		{"mount proc anew", "mount", []string{"/tmp", "proc"}},
		{"remount control groups writable", "remount", []string{"/sys/fs/cgroup"}},
		{"a new file among control groups", "write", []string{"/sys/fs/cgroup/new", "x"}},
		{"remount /proc/sys writable", "remount", []string{"/proc/sys"}},
		{"unmount what masks /proc/kcore", "umount", []string{"/proc/kcore"}},
		{"new user namespace", "unshare", []string{number(unix.CLONE_NEWUSER)}},
		{"new mount namespace", "unshare", []string{number(unix.CLONE_NEWNS)}},
		{"new network namespace", "unshare", []string{number(unix.CLONE_NEWNET)}},
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
		{"read a disk through mknod", "mknod", []string{"/tmp/disk", number(unix.Mkdev(254, 0))}},
		{"set the host name", "sethostname", nil},
		{"write a sysctl", "write", []string{"/proc/sys/kernel/core_pattern", "|/tmp/x"}},
		{"press sysrq", "write", []string{"/proc/sysrq-trigger", "b"}},
		{"raise the memory limit", "write", []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"}},
		{"a release agent", "write", []string{"/sys/fs/cgroup/memory/release_agent", "/tmp/x"}},
		{"read kernel memory", "read", []string{"/proc/kcore"}},
		{"write a firmware path", "write", []string{"/sys/module/firmware_class/parameters/path", "/tmp"}},
		{"lower one's own OOM score", "write", []string{"/proc/self/oom_score_adj", "-1000"}},
		{"a service on the machine's loopback", "dial", []string{"tcp", hostPort}},
		{"the cloud's metadata", "dial", []string{"tcp", "169.254.169.254:80"}},
		{"a datagram to the outside", "talk", []string{"udp", "8.8.8.8:123", "x"}},
	}
}

func TestEscape(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0") // what the instance must not reach
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, runtime := range append(installed(), "process") {
		t.Run(runtime, func(t *testing.T) {
			if runtime == "runsc" {
				t.Skip("its kernel answers some attempts that do no harm")
			}
			m := start(t, sandbox.Config{Runtime: runtime})
			i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].Resources.MemoryBytes = 256 << 20 }))
			for _, a := range attempts(l.Addr().String()) {
				if got := inside(t, i, a.what, a.args...); !strings.HasPrefix(got, "ERR") || strings.Contains(got, "bad address") || strings.Contains(got, "invalid argument") {
					t.Errorf("%s: got through: %q", a.name, got)
				}
			}
			if got := inside(t, i, "chroot"); strings.Contains(got, "home") || !strings.Contains(got, "payload") {
				t.Errorf("chroot led to %q", got)
			}
			if got := inside(t, i, "read", "/proc/self/status"); !strings.Contains(got, "NoNewPrivs:\t1") || !strings.Contains(got, "Seccomp:\t2") ||
				!strings.Contains(got, "CapAmb:\t0000000000000000") || !strings.Contains(got, "CapEff:\t00000000a80425fb") {
				t.Errorf("status %s", got)
			}
			seesOnlyItself(t, i)
		})
	}
}

// seesOnlyItself checks that neither processes, mounts nor sockets of the machine can be seen.
func seesOnlyItself(t *testing.T, i *sandbox.Instance) {
	t.Helper()
	for _, name := range strings.Fields(inside(t, i, "list", "/proc")) {
		if strings.Trim(name, "0123456789") == "" && name != "1" {
			t.Errorf("process %s can be seen", name)
		}
	}
	for _, line := range strings.Split(inside(t, i, "read", "/proc/self/mountinfo"), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(f[4], "instances") {
			t.Errorf("mount point %s can be seen", f[4])
		}
	}
	expect(t, i, "Inter-|   Receive", "read", "/proc/net/dev")
	for _, line := range strings.Split(inside(t, i, "read", "/proc/net/dev"), "\n")[2:] {
		if !strings.HasPrefix(strings.TrimSpace(line), "lo:") {
			t.Errorf("network interface %q", line)
		}
	}
	if unixSockets := inside(t, i, "read", "/proc/net/unix"); strings.Contains(unixSockets, "helper.sock") {
		t.Error("the helper's socket can be seen")
	}
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
	for _, runtime := range append(installed(), "process") {
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
