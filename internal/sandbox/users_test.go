package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// ownerOf is the machine's user and group of a file.
func ownerOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// TestUserNamespace looks at an instance with users of its own from both sides.
func TestUserNamespace(t *testing.T) {
	for _, runtime := range installed() {
		if runtime == "runsc" {
			continue // it keeps an instance's users to itself
		}
		t.Run(runtime, func(t *testing.T) {
			dir, host := t.TempDir(), t.TempDir()
			m := start(t, sandbox.Config{Dir: dir, Runtime: runtime, UserNamespace: sandbox.UsersRequired})
			// Everybody may write to the files of this folder of the machine but not to its root's.
			for name, mode := range map[string]os.FileMode{"theirs": 0o600, "open": 0o666} {
				path := filepath.Join(host, name)
				if err := errors.Join(os.WriteFile(path, []byte(name), 0o600), os.Chmod(path, mode)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chown(filepath.Join(host, "theirs"), 70000, 70000); err != nil {
				t.Fatal(err)
			}
			i := startReady(t, m, web(t, func(s *sandbox.Spec) {
				s.ID, s.FSGroup = "own-users", ptr(int64(777))
				s.Volumes = []sandbox.Volume{
					{Name: "host", HostPath: host}, {Name: "disk", Empty: &sandbox.EmptyVolume{}}, {Name: "mem", Empty: &sandbox.EmptyVolume{Memory: true}},
					{Name: "secret", Files: &sandbox.FilesVolume{Files: map[string]sandbox.File{"key": {Data: []byte("hidden"), Mode: 0o400}}}},
				}
				s.Containers[0].Mounts = []sandbox.Mount{{Volume: "host", Path: "/host"}, {Volume: "disk", Path: "/disk"}, {Volume: "mem", Path: "/mem"}, {Volume: "secret", Path: "/secret"}}
				web := s.Containers[0]
				web.Name, web.User, web.Env, web.Readiness = "user", "web", []string{"PORT=9090"}, nil
				s.Containers = append(s.Containers, web)
			}))
			u := i.State().Users
			if u.First < 1<<16 || u.Count != 1<<16 || u.Missing != "" {
				t.Fatalf("users %+v", u)
			}
			if got := strings.Fields(inside(t, i, "read", "/proc/self/uid_map")); strings.Join(got, " ") != fmt.Sprint(0, " ", u.First, " ", u.Count) {
				t.Errorf("uid_map %q", got)
			}
			for _, pid := range instancePids(t, dir, i.ID()) {
				if got := ownerOf(t, fmt.Sprintf("/proc/%d", pid)); got != fmt.Sprintf("%d:%d", u.First, u.First) && got != fmt.Sprintf("%d:%d", u.First+1000, u.First+1001) {
					t.Errorf("process %d belongs to %s on the machine", pid, got)
				}
			}
			// Files of the image and of volumes are as without.
			expect(t, i, "0:0", "stat", "/payload")
			expect(t, i, "0:0", "stat", "/etc/passwd")
			expect(t, i, "0:0", "stat", "/")
			expect(t, i, "dtrwxrwxrwx 0:0", "stat", "/tmp")
			expect(t, i, "0:0", "stat", "/etc/resolv.conf")
			expect(t, i, "-r--r----- 0:777", "stat", "/secret/key")
			expect(t, i, "hidden", "read", "/secret/key")
			expect(t, i, ":777", "stat", "/disk")
			expect(t, i, ":777", "stat", "/mem")
			// Writing, changing owners, binding low ports and raw sockets work as for any root.
			for _, file := range []string{"/new", "/etc/passwd", "/tmp/new", "/disk/new", "/mem/new", "/host/new"} {
				expect(t, i, "", "write", file, "x")
				expect(t, i, "", "chown", file, "1000")
				expect(t, i, "1000:1000", "stat", file)
			}
			expect(t, i, "", "listen", "0.0.0.0:80")
			expect(t, i, "", "ping")
			expect(t, i, "", "append", "/dev/stdout", "to the log\n")
			// On the machine they belong to nobody; in a volume of the machine to the instance's user as it calls itself.
			if got := ownerOf(t, filepath.Join(host, "new")); got != "1000:1000" {
				t.Errorf("the file in the machine's folder belongs to %s", got)
			}
			if got := ownerOf(t, filepath.Join(dir, "instances", i.ID(), "volumes", "disk", "new")); got != "1000:1000" {
				t.Errorf("the file in the volume belongs to %s", got)
			}
			// What has no user in the instance is not its root's.
			expect(t, i, "permission denied", "read", "/host/theirs")
			expect(t, i, "ERR", "chown", "/tmp/new", "70000")
			expect(t, i, "ERR", "append", "/proc/sysrq-trigger", "h")
			for _, c := range []string{"app", "user"} {
				var out, errs bytes.Buffer
				code, err := i.Exec(t.Context(), c, sandbox.ExecOptions{Args: []string{"/payload", "append", "/dev/stderr", "to a pipe"}, Stdout: &out, Stderr: &errs})
				if err != nil || code != 0 || errs.String() != "to a pipe" {
					t.Errorf("exec in %s: %d, %v, %q, %q", c, code, err, out.String(), errs.String())
				}
			}
			other := startReady(t, m, web(t))
			if o := other.State().Users; o.First == u.First || o.Count == 0 {
				t.Errorf("two instances have the users %+v and %+v", u, o)
			}
			get(t, i, "/exit?code=5")
			until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Containers[0].Ready })
			expect(t, i, fmt.Sprint(u.First), "read", "/proc/self/uid_map")
		})
	}
}

// BenchmarkCreate makes spares with and without users of their own, in turn.
func BenchmarkCreate(b *testing.B) {
	m := start(b, sandbox.Config{Logger: slog.New(slog.DiscardHandler)})
	took := map[sandbox.UserNamespace][]time.Duration{}
	for b.Loop() {
		for _, users := range []sandbox.UserNamespace{sandbox.UsersOff, sandbox.UsersRequired} {
			began := time.Now()
			i := create(b, m, web(b, func(s *sandbox.Spec) { s.UserNamespace = users }))
			took[users] = append(took[users], time.Since(began))
			if err := i.Stop(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	for users, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-p50-"+string(users))
	}
}

// TestWithoutUserNamespace asks for what cannot have one, and for none.
func TestWithoutUserNamespace(t *testing.T) {
	host := t.TempDir()
	for name, c := range map[string]struct {
		change func(*sandbox.Spec)
		why    string
	}{
		"turned off":       {func(s *sandbox.Spec) { s.UserNamespace = sandbox.UsersOff }, "turned off"},
		"a high user":      {func(s *sandbox.Spec) { s.Containers[0].RunAsUser = ptr(int64(1000650000)) }, "1000650000"},
		"a high group":     {func(s *sandbox.Spec) { s.FSGroup = ptr(int64(70000)) }, "70000"},
		"time":             {func(s *sandbox.Spec) { s.Containers[0].CapAdd = []string{"CAP_SYS_TIME", "NET_ADMIN"} }, "SYS_TIME, which"},
		"a proc of ours":   {func(s *sandbox.Spec) { s.Volumes = []sandbox.Volume{{Name: "v", HostPath: "/proc"}} }, "/proc"},
		"everything there": {func(s *sandbox.Spec) { s.Volumes = []sandbox.Volume{{Name: "v", HostPath: host}} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t, sandbox.Config{})
			i := create(t, m, web(t, c.change))
			u := i.State().Users
			if (u.Count == 0) != (c.why != "") || !strings.Contains(u.Missing, c.why) {
				t.Errorf("users %+v", u)
			}
			if err := i.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			ready(t, i)
			if got := strings.Fields(inside(t, i, "read", "/proc/self/uid_map")); (got[1] == "0") != (c.why != "") {
				t.Errorf("uid_map %q", got)
			}
			if c.why == "" || name == "turned off" {
				return
			}
			_, err := m.Create(t.Context(), web(t, c.change, func(s *sandbox.Spec) { s.UserNamespace = sandbox.UsersRequired }))
			if !errors.Is(err, sandbox.ErrUserNamespace) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("required: %v", err)
			}
		})
	}
}
