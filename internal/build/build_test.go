package build_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/oci"
)

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startStore gives an image store and the address of its registry.
func startStore(t *testing.T) (*oci.Store, string) {
	t.Helper()
	s, err := oci.New(oci.Config{Dir: t.TempDir(), Hosts: []string{"registry.test:5000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

func mustBuild(t *testing.T, q build.Request) build.Result {
	t.Helper()
	q.Progress = func(e build.Event) { t.Log(e.Step + ": " + e.Text) }
	r, err := build.Build(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pushed takes a result through the registry to an unpacked root file system.
func pushed(t *testing.T, r build.Result) *oci.RootFS {
	t.Helper()
	s, host := startStore(t)
	if err := build.Push(t.Context(), r, host+"/team/app:v1", build.PushOptions{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: "registry.test:5000/team/app:v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest.String() != r.Digest.String() {
		t.Fatalf("resolved to %s, built %s", got.Digest, r.Digest)
	}
	root, err := s.RootFS(context.Background(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

const helloGo = `package main

import "fmt"

func main() { fmt.Println("hello from the image") }
`

func TestGoModule(t *testing.T) {
	dir := writeFiles(t, map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": helloGo, "kodata/x/page.txt": "data"})
	first := mustBuild(t, build.Request{Dir: dir})
	if first.Builder != "go" {
		t.Fatalf("builder is %q", first.Builder)
	}
	if again := mustBuild(t, build.Request{Dir: dir}); again.Digest != first.Digest {
		t.Errorf("the same source gives %s and then %s", first.Digest, again.Digest)
	}
	root := pushed(t, first)
	if got := root.Image.Config.Config.Entrypoint; len(got) != 1 || got[0] != "/app/hello" {
		t.Fatalf("entry point is %q", got)
	}
	out, err := exec.Command(find(t, root, "app/hello")).Output()
	if err != nil || string(out) != "hello from the image\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
	find(t, root, "var/run/ko/x/page.txt")
	certificates, err := os.ReadFile(find(t, root, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil || strings.Count(string(certificates), "BEGIN CERTIFICATE") < 50 {
		t.Errorf("root certificates are missing: %v", err)
	}
	info, err := os.Stat(find(t, root, "tmp"))
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp has mode %v, %v", info.Mode(), err)
	}
}

// TestGoMainPackage: of several programs the one that the module is named after is built, also at a major version.
func TestGoMainPackage(t *testing.T) {
	files := map[string]string{
		"go.mod": "module example.com/hello/v2\n\ngo 1.24\n", "cmd/hello/main.go": helloGo, "cmd/aside/main.go": helloGo, "tools/main.go": helloGo,
	}
	root := pushed(t, mustBuild(t, build.Request{Dir: writeFiles(t, files)}))
	if got := root.Image.Config.Config.Entrypoint; len(got) != 1 || got[0] != "/app/hello" {
		t.Errorf("entry point is %q", got)
	}
	delete(files, "cmd/hello/main.go")
	_, err := build.Build(t.Context(), build.Request{Dir: writeFiles(t, files)})
	if err == nil || !strings.Contains(err.Error(), "there are 2 main packages: ./cmd/aside, ./tools") {
		t.Errorf("two programs of other names: %v", err)
	}
}

// find looks a path up through the layers, as overlayfs would.
func find(t *testing.T, root *oci.RootFS, path string) string {
	t.Helper()
	for _, lower := range root.Lower {
		p := filepath.Join(lower, path)
		if _, err := os.Lstat(p); err == nil {
			return p
		}
	}
	t.Fatalf("no layer has %s", path)
	return ""
}
