package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestCapabilities(t *testing.T) {
	got, err := capabilities([]string{"net_admin", "CAP_SYS_TIME"}, []string{"ALL"})
	if err != nil || !slices.Equal(got, []string{"CAP_NET_ADMIN", "CAP_SYS_TIME"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := capabilities(nil, nil); err != nil || len(got) != len(usualCapabilities()) || slices.Contains(got, "CAP_SYS_ADMIN") {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := capabilities([]string{"FLY"}, nil); err == nil {
		t.Error("an unknown capability is accepted")
	}
}

func TestUserOfTopmostLayer(t *testing.T) {
	base, top := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		os.MkdirAll(filepath.Join(dir, "etc"), 0o755)
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(base, "passwd", "app:x:1:1::/old:\n")
	write(base, "group", "g:x:9:app\n")
	write(top, "passwd", "app:x:5:6::/new:\n")
	u, err := ResolveUser("app", []string{base, top})
	if err != nil || u.UID != 5 || u.GID != 6 || u.Home != "/new" || !slices.Equal(u.Groups, []uint32{9}) {
		t.Errorf("%+v, %v", u, err)
	}
	// A link out of the image is not followed.
	evil := t.TempDir()
	os.Mkdir(filepath.Join(evil, "etc"), 0o755)
	if err := os.Symlink("/etc/passwd", filepath.Join(evil, "etc", "passwd")); err != nil {
		t.Fatal(err)
	}
	if u, err := ResolveUser("root", []string{evil}); err == nil {
		t.Errorf("the machine's own users were read: %+v", u)
	}
}

func TestSpecIsHard(t *testing.T) {
	s, err := Spec(Input{Args: []string{"/x"}, RootFS: "/r", NetNS: "/n", CgroupPath: "/c", MemoryBytes: 1<<20 + 1, CPUMillis: 5})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Process.NoNewPrivileges || len(s.Process.Capabilities.Ambient)+len(s.Process.Capabilities.Inheritable) != 0 {
		t.Errorf("process %+v", s.Process)
	}
	if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Error("there is no system call filter")
	}
	if *s.Linux.Resources.Memory.Limit != 1<<20 || *s.Linux.Resources.CPU.Quota != 1000 {
		t.Errorf("resources %+v %+v", s.Linux.Resources.Memory, s.Linux.Resources.CPU)
	}
	calls := map[string]bool{}
	for _, c := range s.Linux.Seccomp.Syscalls {
		for _, n := range c.Names {
			if c.Action == specs.ActAllow && len(c.Args) == 0 {
				calls[n] = true
			}
		}
	}
	for _, bad := range []string{"mount", "bpf", "unshare", "setns", "keyctl", "clone3", "io_uring_setup", "init_module", "perf_event_open"} {
		if calls[bad] {
			t.Errorf("%s is allowed", bad)
		}
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:\n", "web:x:1001:a,b\n", "web:web")
	f.Add("\n::::\nx", "", "4294967295")
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		for _, e := range parsePasswd(passwd) {
			if e.name == "" {
				t.Error("an entry without a name")
			}
		}
		parseGroup(group)
		if u, _, err := findUser(user, parsePasswd(passwd)); err == nil && u.UID == 1<<32-1 {
			t.Error("the user that means none")
		}
	})
}
