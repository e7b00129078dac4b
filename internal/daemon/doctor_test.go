package daemon

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a root folder with the given files, and finds only the given programs on it.
func machine(t *testing.T, files map[string]string, programs ...string) host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host{root: root, lookPath: func(name string) (string, error) {
		for _, p := range programs {
			if p == name {
				return "/bin/true", nil
			}
		}
		return "", exec.ErrNotFound
	}}
}

func TestDoctorFindings(t *testing.T) {
	for name, test := range map[string]struct {
		look    func(host) []Finding
		files   map[string]string
		verdict string
		message string
	}{
		"kernel new":      {host.checkKernel, map[string]string{"proc/sys/kernel/osrelease": "6.1.0-13-amd64\n"}, VerdictOK, "6.1.0-13"},
		"kernel old":      {host.checkKernel, map[string]string{"proc/sys/kernel/osrelease": "4.19.0\n"}, VerdictProblem, "too old"},
		"kernel strange":  {host.checkKernel, map[string]string{"proc/sys/kernel/osrelease": "six"}, VerdictWarning, "not understood"},
		"kernel hidden":   {host.checkKernel, nil, VerdictProblem, "cannot be read"},
		"cgroup v2":       {host.checkCgroups, map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu memory pids io"}, VerdictOK, "v2"},
		"cgroup v2 bare":  {host.checkCgroups, map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu"}, VerdictWarning, "memory, pids"},
		"cgroup v1 bare":  {host.checkCgroups, map[string]string{"sys/fs/cgroup/cpu/x": ""}, VerdictWarning, "v1 without memory"},
		"overlay":         {host.checkOverlay, map[string]string{"proc/filesystems": "nodev\tproc\nnodev\toverlay"}, VerdictOK, "overlay"},
		"overlay missing": {host.checkOverlay, map[string]string{"proc/filesystems": "ext4"}, VerdictProblem, "no overlay"},
		"userns off":      {autoUsers, map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, VerdictWarning, "switched off"},
		"userns missing":  {autoUsers, nil, VerdictWarning, "no user namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			findings := test.look(machine(t, test.files))
			if len(findings) != 1 || findings[0].Verdict != test.verdict || !strings.Contains(findings[0].Message, test.message) {
				t.Fatalf("got %+v, want one %s that says %q", findings, test.verdict, test.message)
			}
			if (findings[0].Try == "") != (test.verdict == VerdictOK) {
				t.Errorf("advice %q does not fit the verdict %s", findings[0].Try, test.verdict)
			}
		})
	}
}

// TestDoctorOfAnOrdinaryUser: what is said of control groups depends on whether the user has some.
func TestDoctorOfAnOrdinaryUser(t *testing.T) {
	h := machine(t, nil)
	h.uid = 1000
	if f := h.checkCgroups()[0]; f.Verdict != VerdictWarning || !strings.Contains(f.Message, "not enforced") || !strings.Contains(f.Message, "SIGSTOP") ||
		!strings.Contains(f.Try, "Delegate=yes") {
		t.Errorf("without: %+v", f)
	}
	h.delegated = true
	if f := h.checkCgroups()[0]; f.Verdict != VerdictOK || !strings.Contains(f.Message, "delegated") {
		t.Errorf("with: %+v", f)
	}
}

func TestDoctorRuntimes(t *testing.T) {
	worst := func(findings []Finding) (worst Finding) {
		worst = ok("nothing to report")
		for _, f := range findings {
			if f.Verdict == VerdictProblem || f.Verdict == VerdictWarning && worst.Verdict == VerdictOK {
				worst = f
			}
		}
		return worst
	}
	for name, test := range map[string]struct {
		wanted, verdict string
		programs        []string
	}{
		"both":            {"auto", VerdictOK, []string{"crun", "runc"}},
		"only runc":       {"auto", VerdictWarning, []string{"runc"}},
		"none":            {"auto", VerdictProblem, nil},
		"wanted is gone":  {"crun", VerdictProblem, []string{"runc"}},
		"no isolation":    {"process", VerdictWarning, nil},
		"only gvisor":     {"auto", VerdictProblem, []string{"runsc"}},
		"wanted is there": {"runc", VerdictOK, []string{"crun", "runc"}},
	} {
		t.Run(name, func(t *testing.T) {
			if f := worst(machine(t, nil, test.programs...).checkRuntimes(t.Context(), test.wanted)); f.Verdict != test.verdict {
				t.Errorf("got %+v, want %s", f, test.verdict)
			}
		})
	}
}

func TestDoctorGVisor(t *testing.T) {
	if f := machine(t, nil).checkGVisor(); len(f) != 1 || f[0].Verdict != VerdictOK || !strings.Contains(f[0].Try, "CGO_ENABLED=0 go install") {
		t.Errorf("without runsc: %+v", f)
	}
	dynamic, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no program to take for a dynamic runsc")
	}
	h := host{root: "/", lookPath: func(string) (string, error) { return dynamic, nil }}
	if f := h.checkGVisor(); len(f) != 1 || f[0].Verdict != VerdictWarning || !strings.Contains(f[0].Try, "CGO_ENABLED=0") {
		t.Errorf("with a runsc that is linked dynamically: %+v", f)
	}
}

func TestDoctorNamesBusyPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := NewSettings()
	s.Home = t.TempDir()
	s.APIListen, s.GatewayListen, s.GatewayTLSListen = listener.Addr().String(), "127.0.0.1:0", "127.0.0.1:0"
	s.RegistryListen, s.MetricsListen = "127.0.0.1:0", "127.0.0.1:0"
	findings := checkPorts(t.Context(), s)
	if len(findings) != 1 || findings[0].Verdict != VerdictWarning || !strings.Contains(findings[0].Try, "--api-listen") {
		t.Errorf("got %+v, want the busy port with its flag", findings)
	}
}

func FuzzKernelVersion(f *testing.F) {
	f.Add("6.1.0-13-amd64")
	f.Add("-1.0")
	f.Add("5")
	f.Fuzz(func(t *testing.T, release string) {
		if major, minor, valid := kernelVersion(release); !valid && (major != 0 || minor != 0) || major < 0 || minor < 0 {
			t.Errorf("%q is not valid, yet %d.%d", release, major, minor)
		}
	})
}

func autoUsers(h host) []Finding { return h.checkUserNamespaces("auto") }
