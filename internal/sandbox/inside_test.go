package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

func ptr[T any](v T) *T { return &v }

// expect checks what the payload says against a text that must be in it; "ERR" at the start stands for any refusal.
func expect(t *testing.T, i *sandbox.Instance, want, what string, args ...string) {
	t.Helper()
	got := inside(t, i, what, args...)
	if (want == "" && got != "") || !strings.Contains(got, want) || (want == "ERR" && !strings.HasPrefix(got, "ERR")) {
		t.Errorf("%s %q: got %q, want %q", what, args, got, want)
	}
}

func TestFileSystem(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.ID, s.Hostname = "files", "myhost"
		s.Search = []string{"ns.svc.cluster.local"}
		s.Containers[0].Dir = "/work/dir"
		s.Containers[0].Resources = sandbox.Resources{MemoryBytes: 128 << 20, CPUMillis: 1000, CPURequestMillis: 125}
	}))
	for _, dev := range []string{"full", "null", "ptmx", "random", "tty", "urandom", "zero"} {
		expect(t, i, "c", "stat", "/dev/"+dev)
	}
	expect(t, i, "d", "stat", "/dev/fd/")
	expect(t, i, "/fd", "link", "/dev/fd")
	for _, dev := range []string{"stdin", "stdout", "stderr"} {
		expect(t, i, "rw", "stat", "/dev/"+dev)
	}
	expect(t, i, "no such file or directory", "stat", "/dev/console")
	expect(t, i, "dtrwxrwxrwx 0:0", "stat", "/tmp")
	expect(t, i, "", "write", "/tmp/x", "y")
	expect(t, i, "-rw-r--r--", "stat", "/etc/resolv.conf")
	expect(t, i, "search ns.svc.cluster.local", "read", "/etc/resolv.conf")
	expect(t, i, "myhost", "read", "/etc/hostname")
	expect(t, i, "10.88.0.2\tmyhost", "read", "/etc/hosts")
	expect(t, i, "myhost", "hostname")
	expect(t, i, "0 EOF", "stdin")
	expect(t, i, "/work/dir", "cwd")
	expect(t, i, "HOME=/root", "env")
	expect(t, i, "ERR", "write", "/proc/sys/net/ipv4/ip_forward", "1")
	expect(t, i, "ERR", "write", "/sys/kernel/uevent_helper", "1")
	if m.Info().Cgroups == "v2" {
		expect(t, i, "134217728", "read", "/sys/fs/cgroup/memory.max")
		expect(t, i, "100000 100000", "read", "/sys/fs/cgroup/cpu.max")
		expect(t, i, "ERR", "write", "/sys/fs/cgroup/memory.max", "9")
		return
	}
	expect(t, i, "134217728", "read", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
	expect(t, i, "100000", "read", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
	expect(t, i, "100000", "read", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
	expect(t, i, "128", "read", "/sys/fs/cgroup/cpu/cpu.shares")
	for _, f := range []string{"memory/memory.limit_in_bytes", "cpu/cpu.cfs_period_us", "cpu/cpu.cfs_quota_us", "cpu/cpu.shares"} {
		expect(t, i, "ERR", "write", "/sys/fs/cgroup/"+f, "9")
	}
}

func TestUsers(t *testing.T) {
	m := start(t, sandbox.Config{})
	for _, c := range []struct {
		name   string
		change func(*sandbox.Spec)
		want   string
	}{
		{"default", func(s *sandbox.Spec) {}, "0 0 []"},
		{"name", func(s *sandbox.Spec) { s.Containers[0].User = "web" }, "1000 1001 [1002]"},
		{"name and group", func(s *sandbox.Spec) { s.Containers[0].User = "web:extra" }, "1000 1002 []"},
		{"number", func(s *sandbox.Spec) { s.Containers[0].User = "65532" }, "65532 0 []"},
		{"runAsUser", func(s *sandbox.Spec) { s.Containers[0].User = "web"; s.Containers[0].RunAsUser = ptr(int64(2020)) }, "2020 0 []"},
		{"fsGroup", func(s *sandbox.Spec) { s.FSGroup = ptr(int64(777)); s.Containers[0].User = "1000:1001" }, "1000 1001 [777]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := startReady(t, m, web(t, c.change))
			expect(t, i, c.want, "id")
			if err := i.Stop(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		})
	}
	_, err := m.Create(t.Context(), web(t, func(s *sandbox.Spec) { s.Containers[0].User = "nobody-here" }))
	if err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("unknown user: %v", err)
	}
	_, err = m.Create(t.Context(), web(t, func(s *sandbox.Spec) { s.Containers[0].RunAsNonRoot = true }))
	if !errors.Is(err, sandbox.ErrSpec) {
		t.Errorf("runAsNonRoot with root: %v", err)
	}
}

func TestVolumes(t *testing.T) {
	m := start(t, sandbox.Config{})
	host := t.TempDir()
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.FSGroup = ptr(int64(777))
		s.Volumes = []sandbox.Volume{
			{Name: "mem", Empty: &sandbox.EmptyVolume{Memory: true, SizeBytes: 2 << 20}},
			{Name: "disk", Empty: &sandbox.EmptyVolume{}},
			{Name: "conf", Files: &sandbox.FilesVolume{Files: map[string]sandbox.File{
				"a": {Data: []byte("one")}, "sub/b": {Data: []byte("two"), Mode: 0o400}}}},
			{Name: "host", HostPath: host},
		}
		s.Containers[0].Mounts = []sandbox.Mount{
			{Volume: "mem", Path: "/mem"}, {Volume: "disk", Path: "/disk"}, {Volume: "conf", Path: "/conf"}, {Volume: "host", Path: "/host"},
			{Volume: "host", Path: "/readonly", ReadOnly: true}, {Volume: "conf", Path: "/one/file", SubPath: "a"},
			{Volume: "disk", Path: "/part", SubPath: "x/y"},
		}
	}))
	expect(t, i, "", "fill", "/mem/one", "1")
	expect(t, i, "no space left", "fill", "/mem/two", "3")
	expect(t, i, "", "write", "/disk/f", "x")
	expect(t, i, "", "write", "/part/f", "deep")
	expect(t, i, "deep", "read", "/disk/x/y/f")
	expect(t, i, "", "write", "/host/f", "kept")
	expect(t, i, "kept", "read", "/readonly/f")
	expect(t, i, "read-only", "write", "/readonly/g", "x")
	expect(t, i, "one", "read", "/conf/a")
	expect(t, i, "one", "read", "/one/file")
	expect(t, i, "two", "read", "/conf/sub/b")
	expect(t, i, "-r--r----- 0:777", "stat", "/conf/sub/b")
	expect(t, i, "read-only", "write", "/conf/a", "x")
	err := i.SetFiles(t.Context(), "conf", map[string]sandbox.File{"a": {Data: []byte("new")}, "c": {Data: []byte("three")}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, i, "new", "read", "/conf/a")
	expect(t, i, "three", "read", "/conf/c")
	expect(t, i, "ERR", "read", "/conf/sub/b")
	expect(t, i, "one", "read", "/one/file")
}

func TestReadOnlyRootAndLimit(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].ReadOnlyRoot = true }))
	expect(t, i, "read-only", "write", "/x", "y")
	expect(t, i, "", "write", "/tmp/x", "y")
	i = startReady(t, m, web(t, func(s *sandbox.Spec) { s.WritableBytes = 2 << 20 }))
	expect(t, i, "", "fill", "/one", "1")
	expect(t, i, "no space left", "fill", "/two", "3")
}

func TestInitAndSidecar(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.Volumes = []sandbox.Volume{{Name: "v", Empty: &sandbox.EmptyVolume{}}}
		mount := []sandbox.Mount{{Volume: "v", Path: "/v"}}
		step := func(name, file, text string) sandbox.Container {
			return sandbox.Container{Name: name, Lowers: s.Containers[0].Lowers, Args: []string{"/payload", "write", file, text}, Mounts: mount}
		}
		s.Init = []sandbox.Container{step("first", "/v/f", "1"), step("second", "/v/f", "2")}
		s.Containers[0].Mounts = mount
		side := s.Containers[0]
		side.Name, side.Env, side.Readiness = "side", []string{"PORT=9090"}, &sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 9090, Path: "/healthz"}}
		s.Containers = append(s.Containers, side)
	}))
	expect(t, i, "2", "read", "/v/f")
	expect(t, i, "200 OK", "talk", "tcp", "127.0.0.1:9090", "GET / HTTP/1.0\r\n\r\n")
	bad := create(t, m, web(t, func(s *sandbox.Spec) {
		s.Restart = sandbox.RestartNever
		s.Init = []sandbox.Container{{Name: "bad", Lowers: s.Containers[0].Lowers, Args: []string{"/payload", "exit", "3"}}}
	}))
	if err := bad.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := until(t, bad, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
	if s.Reason != sandbox.ReasonInitFailed || !strings.Contains(s.Message, "leaving as asked") {
		t.Errorf("state %+v", s)
	}
}

func TestProbeKinds(t *testing.T) {
	m := start(t, sandbox.Config{})
	for name, p := range map[string]*sandbox.Probe{
		"http":          {HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz?x=1"}},
		"http, 1 s":     {HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "healthz"}, Period: time.Second},
		"tcp, 1 s":      {TCP: &sandbox.TCPProbe{Port: 8080}, Period: time.Second},
		"exec":          {Exec: []string{"/payload", "dial", "tcp", "127.0.0.1:8080", "GET / HTTP/1.0\r\n\r\n"}},
		"two in a row":  {TCP: &sandbox.TCPProbe{Port: 8080}, SuccessThreshold: 2},
		"after a while": {TCP: &sandbox.TCPProbe{Port: 8080}, InitialDelay: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			i := startReady(t, m, web(t, func(s *sandbox.Spec) {
				s.Containers[0].Readiness = p
				s.Containers[0].Env = append(s.Containers[0].Env, "START_DELAY=50ms")
			}))
			if err := i.Stop(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLivenessRestarts(t *testing.T) {
	m := start(t, sandbox.Config{})
	healthz := &sandbox.HTTPProbe{Port: 8080, Path: "/healthz"}
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		c := &s.Containers[0]
		c.Startup = &sandbox.Probe{HTTP: healthz, Period: 10 * time.Millisecond, FailureThreshold: 500}
		c.Liveness = &sandbox.Probe{HTTP: healthz, Period: 20 * time.Millisecond, FailureThreshold: 2}
		c.Env = append(c.Env, "START_DELAY=100ms")
	}))
	get(t, i, "/sick")
	s := until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
	if last := s.Containers[0].Last; last == nil || last.Reason != sandbox.ReasonUnhealthy {
		t.Errorf("last exit %+v", last)
	}
}

// TestLivenessWaitsForTheStart holds that a program which does not listen yet is not dead, even where one failure would do.
func TestLivenessWaitsForTheStart(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		c := &s.Containers[0]
		c.Liveness = &sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz"}, Period: 10 * time.Second, FailureThreshold: 1}
		c.Env = append(c.Env, "START_DELAY=100ms")
	}))
	if s := i.State(); s.Containers[0].Restarts != 0 {
		t.Errorf("restarted while it started: %+v", s.Containers[0])
	}
}

func TestReadinessIsLost(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Readiness = &sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz"}, Period: 20 * time.Millisecond}
	}))
	get(t, i, "/sick")
	s := until(t, i, "the loss", func(s sandbox.State) bool { return !s.Ready })
	if s.Reason != sandbox.ReasonUnhealthy || !strings.Contains(s.Message, "500") {
		t.Errorf("state %+v", s)
	}
}

// everyDriver lists the drivers of this machine.
func everyDriver() []string { return append(installed(), "process") }

// sharingKernel lists those whose instances use its kernel.
func sharingKernel() []string {
	return slices.DeleteFunc(everyDriver(), func(name string) bool { return name == "runsc" })
}

func TestExec(t *testing.T) {
	for _, runtime := range everyDriver() {
		t.Run(runtime, func(t *testing.T) { testExec(t, start(t, sandbox.Config{Runtime: runtime})) })
	}
}

func testExec(t *testing.T, m *testManager) {
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].User = "web" }))
	var out, errs bytes.Buffer
	code, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "cat"}, Stdin: strings.NewReader("in\x00out"), Stdout: &out})
	if err != nil || code != 0 || out.String() != "in\x00out" {
		t.Errorf("cat: %d, %v, %q", code, err, out.String())
	}
	// A program need not know of EAGAIN: its streams block, whoever made the pipes.
	out.Reset()
	code, err = i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "blocking"}, Stdin: strings.NewReader(""), Stdout: &out})
	if err != nil || code != 0 || out.String() != "true true true " {
		t.Errorf("blocking: %d, %v, %q", code, err, out.String())
	}
	code, err = i.Exec(t.Context(), "app", sandbox.ExecOptions{Args: []string{"/payload", "exit", "9"}, Stderr: &errs})
	if err != nil || code != 9 || errs.String() != "leaving as asked\n" {
		t.Errorf("exit: %d, %v, %q", code, err, errs.String())
	}
	out.Reset()
	code, err = i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "id"}, Stdout: &out})
	if err != nil || code != 0 || out.String() != "1000 1001 [1002]" {
		t.Errorf("id: %d, %v, %q", code, err, out.String())
	}
	out.Reset()
	code, err = i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "read", "/proc/self/status"}, Stdout: &out})
	if err != nil || code != 0 || !strings.Contains(out.String(), "Seccomp:\t2") || !strings.Contains(out.String(), "NoNewPrivs:\t1") {
		t.Errorf("exec is not as hardened as the container: %d, %v, %q", code, err, out.String())
	}
	if _, err = i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/nothing"}}); err == nil || !strings.Contains(err.Error(), "/nothing") {
		t.Errorf("a program that is not there ran, or is not named: %v", err)
	}
	if _, err = i.Exec(t.Context(), "other", sandbox.ExecOptions{Args: []string{"/payload"}}); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("unknown container: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err = i.Exec(ctx, "", sandbox.ExecOptions{Args: []string{"/payload", "sleep"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec past its time: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	for _, runtime := range everyDriver() {
		t.Run(runtime, func(t *testing.T) { testExecTerminal(t, start(t, sandbox.Config{Runtime: runtime})) })
	}
}

func testExecTerminal(t *testing.T, m *testManager) {
	i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].User = "web" }))
	in, typed := io.Pipe()
	shown, out := io.Pipe()
	resize := make(chan sandbox.Size)
	result := make(chan error, 1)
	go func() {
		_, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/payload", "tty"}, TTY: true, Stdin: in, Stdout: out, Resize: resize})
		out.Close()
		result <- err
	}()
	buf := make([]byte, 256)
	n, err := shown.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), "ready") {
		t.Fatalf("%q, %v, %v", buf[:n], err, <-result)
	}
	resize <- sandbox.Size{Width: 91, Height: 37}
	resize <- sandbox.Size{Width: 91, Height: 37} // taken only after the first was set
	typed.Write([]byte("typed\n"))
	rest, err := io.ReadAll(shown)
	if err != nil || !strings.Contains(string(rest), "size 91x37 line typed") {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t))
	r := logs.Open(t.Context(), i.LogDir(), i.Done(), logs.Query{Container: "app"})
	defer r.Close()
	long := strings.Repeat("x", 1000)
	if _, err := get(t, i, "/print?s="+long+"&n=1000"); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hello from stdout\n", "hello from stderr\n", "\n" + strings.Repeat(long, 1000) + "\n", "got SIGTERM\n"} {
		if !strings.Contains(string(all), want) {
			t.Errorf("the log lacks %.40q", want)
		}
	}
	one := int64(1)
	tail := logs.Open(t.Context(), i.LogDir(), nil, logs.Query{Last: &one})
	defer tail.Close()
	if last, err := io.ReadAll(tail); err != nil || string(last) != "got SIGTERM\n" {
		t.Errorf("tail %q, %v", last, err)
	}
}
