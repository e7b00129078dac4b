package sandbox_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
)

// TestBundlesAreValid holds the bundles of instances of every kind to the OCI runtime specification, as their runtime sees them.
// FAIRLEAD_OCIVALIDATE is the program of test/ocivalidate with its options (make conformance-bundles).
func TestBundlesAreValid(t *testing.T) {
	validator := strings.Fields(os.Getenv("FAIRLEAD_OCIVALIDATE"))
	if len(validator) == 0 {
		t.Skip("FAIRLEAD_OCIVALIDATE does not name the validator: make conformance-bundles")
	}
	dir := t.TempDir()
	m := start(t, sandbox.Config{Dir: dir})
	host := t.TempDir()
	for name, change := range map[string]func(*sandbox.Spec){
		"plain": func(s *sandbox.Spec) {}, // with users of its own, where the machine can
		"root":  func(s *sandbox.Spec) { s.UserNamespace = sandbox.UsersOff },
		"other": func(s *sandbox.Spec) { s.Runtime = installed()[len(installed())-1] },
		"read-only": func(s *sandbox.Spec) {
			s.Containers[0].ReadOnlyRoot = true
		},
		"limits": func(s *sandbox.Spec) {
			s.Containers[0].Resources = sandbox.Resources{MemoryBytes: 64 << 20, CPUMillis: 500, CPURequestMillis: 100, Pids: 50}
		},
		"volumes": func(s *sandbox.Spec) {
			s.Volumes = []sandbox.Volume{
				{Name: "memory", Empty: &sandbox.EmptyVolume{Memory: true}}, {Name: "disk", Empty: &sandbox.EmptyVolume{}},
				{Name: "files", Files: &sandbox.FilesVolume{Files: map[string]sandbox.File{"a": {Data: []byte("x")}}}},
				{Name: "host", HostPath: host},
			}
			for _, v := range s.Volumes {
				s.Containers[0].Mounts = append(s.Containers[0].Mounts, sandbox.Mount{Volume: v.Name, Path: "/" + v.Name})
			}
		},
		"user": func(s *sandbox.Spec) {
			s.FSGroup, s.Groups = ptr(int64(2000)), []int64{3000}
			s.Containers[0].User, s.Containers[0].Dir, s.Containers[0].CapAdd = "web", "/srv/app", []string{"SYS_PTRACE"}
		},
		"open": func(s *sandbox.Spec) {
			s.Containers[0].SeccompUnconfined, s.Containers[0].AllowPrivilegeEscalation = true, true
		},
		"several": func(s *sandbox.Spec) {
			s.Init = []sandbox.Container{s.Containers[0]}
			s.Init[0].Name, s.Init[0].Args, s.Init[0].Readiness = "first", []string{"/payload", "exit", "0"}, nil
			side := s.Containers[0]
			side.Name = "side"
			s.Containers = append(s.Containers, side)
		},
	} {
		create(t, m, web(t, func(s *sandbox.Spec) { s.ID = name }, change))
	}
	// The helper alone sees the root file systems.
	args := append([]string{"--target", strconv.Itoa(helperPid(t, dir)), "--mount", "--"}, validator...)
	out, err := exec.Command("nsenter", append(args, append(bundles(t, dir), withoutGroups(t))...)...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// bundles finds the bundles of all instances where their runtimes see them: beside their root file systems.
func bundles(t *testing.T, dir string) []string {
	t.Helper()
	configs, err := filepath.Glob(filepath.Join(dir, "instances", "*", "containers", "*", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, config := range configs {
		data, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		var spec specs.Spec
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		all = append(all, filepath.Dir(spec.Root.Path))
	}
	return all
}

// withoutGroups is a bundle as it is made where there are no control groups, as for an ordinary user of many machines.
func withoutGroups(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "no-control-groups")
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := bundle.Write(dir, bundle.Input{
		Hostname: "host", Args: []string{"/app"}, RootFS: filepath.Join(dir, "rootfs"), NetNS: "/proc/self/ns/net", CgroupPath: "/x", NoCgroups: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
