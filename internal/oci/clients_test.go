package oci_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// locked is a registry that asks for a login, with an image of one file as base:latest.
func locked(t *testing.T) (*oci.Store, string) {
	t.Helper()
	s := open(t, oci.Config{Token: "s3cret"})
	ocitest.Add(t, s, "base", "latest", text("content"))
	return s, serve(t, s)
}

// needs skips the test where a program is missing that a target of the Makefile builds.
func needs(t *testing.T, program, target string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: make %s builds it", program, target)
	}
}

// lowerFile unpacks an image and gives the content of a file by name, from the uppermost layer that has it.
func lowerFile(t *testing.T, s *oci.Store, reference, name string) string {
	t.Helper()
	root, err := s.RootFS(t.Context(), resolve(t, s, reference, "").Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, layer := range root.Lower {
		if data, err := os.ReadFile(filepath.Join(layer, name)); err == nil {
			return string(data)
		}
	}
	t.Fatalf("%s has no file %s in %d layers", reference, name, len(root.Lower))
	return ""
}

func TestPodman(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("podman is set up for root here")
	}
	s, host := locked(t)
	dir := t.TempDir()
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "auth.json"))
	podman := func(args ...string) string { // its own folders: nothing of the machine's images is touched
		return program(t, append([]string{"podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
			"--tmpdir", filepath.Join(dir, "tmp"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}, args...)...)
	}
	podman("login", "--tls-verify=false", "--username", "me", "--password", "s3cret", host)
	podman("pull", "--tls-verify=false", host+"/base")
	podman("tag", host+"/base", host+"/team/pushed:v1")
	podman("push", "--tls-verify=false", host+"/team/pushed:v1")
	if got := lowerFile(t, s, "team/pushed:v1", "file"); got != "content" {
		t.Errorf("pushed, the file has %q", got)
	}
	for name, content := range map[string]string{"Dockerfile": "FROM " + host + "/base\nCOPY more /more\n", "more": "more"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	podman("build", "--tls-verify=false", "--file", filepath.Join(dir, "Dockerfile"), "--tag", host+"/built", dir)
	podman("push", "--tls-verify=false", host+"/built")
	for name, want := range map[string]string{"file": "content", "more": "more"} {
		if got := lowerFile(t, s, "built", name); got != want {
			t.Errorf("built, %s has %q, want %q", name, got, want)
		}
	}
	podman("rmi", "--all", "--force")
	podman("pull", "--tls-verify=false", host+"/built")
	if out := podman("images", "--format", "{{.Repository}}"); strings.TrimSpace(out) != host+"/built" {
		t.Errorf("pulled again, podman has %q", out)
	}
}

func TestCraneProgram(t *testing.T) {
	needs(t, "crane", "conformance-registry")
	s, host := locked(t)
	d := resolve(t, s, "base", "").Digest
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	program(t, "crane", "auth", "login", host, "--username", "me", "--password", "s3cret")
	layout := filepath.Join(t.TempDir(), "layout")
	program(t, "crane", "pull", "--format", "oci", host+"/base", layout)
	program(t, "crane", "push", layout, host+"/team/pushed:v1")
	if got := resolve(t, s, "team/pushed:v1", ""); got.Digest != d {
		t.Errorf("pulled and pushed it is %s, want %s", got.Digest, d)
	}
	program(t, "crane", "validate", "--remote", host+"/team/pushed:v1")
	program(t, "crane", "copy", host+"/team/pushed:v1", host+"/copied:v2")
	if out := program(t, "crane", "digest", host+"/copied:v2"); strings.TrimSpace(out) != d.String() {
		t.Errorf("copied it is %s, want %s", out, d)
	}
	program(t, "crane", "tag", host+"/copied:v2", "v3")
	if out := program(t, "crane", "ls", host+"/copied"); !slices.Equal(strings.Fields(out), []string{"v2", "v3"}) {
		t.Errorf("tags are %q", out)
	}
	if out := program(t, "crane", "catalog", host); !slices.Equal(strings.Fields(out), []string{"base", "copied", "team/pushed"}) {
		t.Errorf("repositories are %q", out)
	}
	program(t, "crane", "delete", host+"/copied@"+d.String())
	if _, err := s.Inspect("copied:v3"); err == nil {
		t.Error("crane deleted it, and it is still there")
	}
}

func TestKo(t *testing.T) {
	needs(t, "ko", "conformance-ko")
	s, host := locked(t)
	for name, value := range map[string]string{
		"DOCKER_CONFIG": t.TempDir(), "KO_DOCKER_REPO": host + "/team/hello", "KO_DEFAULTBASEIMAGE": host + "/base", "KOCACHE": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"go.mod": "module example.test/hello\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program(t, "ko", "login", host, "--username", "me", "--password", "s3cret")
	out := program(t, "ko", "build", "--bare", "--platform", "linux/"+runtime.GOARCH, "--tags", "latest,v1", ".")
	got := resolve(t, s, "team/hello:v1", "")
	if want := host + "/team/hello@" + got.Digest.String(); !strings.Contains(out, want) {
		t.Errorf("ko says %s\nwant it to name %s", out, want)
	}
	if got := lowerFile(t, s, "team/hello", "file"); got != "content" {
		t.Errorf("the base's file has %q", got)
	}
	if got := lowerFile(t, s, "team/hello", "ko-app/hello"); !strings.HasPrefix(got, "\x7fELF") {
		t.Errorf("the program of %d bytes is none", len(got))
	}
}
