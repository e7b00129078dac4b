package helper

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestFindProgram(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	for path, mode := range map[string]os.FileMode{filepath.Join(root, "bin/tool"): 0o755, filepath.Join(root, "bin/text"): 0o644, outside: 0o755} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"bin/absolute": "/bin/tool", "bin/out": outside, "bin/up": "../../../../../../bin/tool"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		arg, volume string
		there       bool
	}{
		{"tool", "", true}, {"/bin/tool", "", true}, {"./tool", "", true}, {"absolute", "", true}, {"up", "", true},
		{"out", "", false}, {"text", "", false}, {"/bin/text", "", false}, {"/bin", "", false}, {"none", "", false}, {"/none", "", false},
		{"/none", "/tmp", false}, {"/data/none", "/data", true},
	} {
		spec := &specs.Spec{Process: &specs.Process{Args: []string{c.arg}, Env: []string{"PATH=/usr/bin:/bin"}, Cwd: "/bin"}}
		if c.volume != "" {
			spec.Mounts = []specs.Mount{{Type: "bind", Destination: c.volume}}
		}
		if err := findProgram(spec, root); (err == nil) != c.there {
			t.Errorf("%s with a volume at %q: %v, want found %v", c.arg, c.volume, err, c.there)
		}
	}
}

func TestGVisorSignal(t *testing.T) {
	for code, signal := range map[int]int{0: 0, 1: 0, 128: 0, 137: 9, 143: 15, 159: 31, 160: 0, 255: 0} {
		if got := gvisorSignal(code); got != signal {
			t.Errorf("exit code %d: signal %d, want %d", code, got, signal)
		}
	}
}
