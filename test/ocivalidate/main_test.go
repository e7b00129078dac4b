package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindings: the tool, the schema that belongs to it and the newest schema each find what is wrong.
func TestFindings(t *testing.T) {
	own, err := moduleSchema()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-C", "../..", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatal(err)
	}
	newest := filepath.Join(strings.TrimSpace(string(out)), "schema")
	for name, c := range map[string]struct {
		config, want string
	}{
		"nothing": {`{"ociVersion":"1.0.2","process":{"cwd":"/","args":["/a"],"user":{"uid":0,"gid":0}},"root":{"path":"rootfs"},"linux":{}}`, ""},
		"tool":    {`{"ociVersion":"1.0.2","process":{"cwd":"a","args":["/a"],"user":{"uid":0,"gid":0}},"root":{"path":"rootfs"},"linux":{}}`, "cwd"},
		"schema":  {`{"ociVersion":"1.0.2","process":{"cwd":"/","args":["/a"],"user":{"uid":0,"gid":0}},"root":{"path":"rootfs"},"linux":{"seccomp":{"defaultAction":"SAY_HELLO"}}}`, "linux.seccomp.defaultAction: linux.seccomp.defaultAction must be one of"},
		"newest": {`{"ociVersion":"1.0.2","process":{"cwd":"/","args":["/a"],"user":{"uid":0,"gid":0}},"root":{"path":"rootfs"},
			"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":"x"}}}`, "newest schema"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			if err := os.Mkdir(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			bad, err := check(own, newest, []string{bundle})
			if err != nil || (bad > 0) != (c.want != "") {
				t.Fatalf("%d bad, %v", bad, err)
			}
			found, err := validateBundle(bundle, newest)
			if err != nil {
				t.Fatal(err)
			}
			all := ""
			for _, f := range found {
				all += f.level + ": " + f.text + "\n"
			}
			if !strings.Contains(all, c.want) {
				t.Errorf("found %s, want %s", all, c.want)
			}
		})
	}
}
