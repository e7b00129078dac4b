package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

func TestRootFSIsSharedAndSurvives(t *testing.T) {
	dir := t.TempDir()
	open := func() *oci.Store {
		s, err := oci.New(oci.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	d := ocitest.Add(t, s, "team/app", "v1", ocitest.Spec{
		Source: `package main; import "fmt"; func main() { fmt.Println("ran") }`,
		Files:  map[string]string{"etc/motd": "hello"},
	})
	first, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if first.Lower[0] != second.Lower[0] {
		t.Errorf("the same layer is at %s and at %s", first.Lower[0], second.Lower[0])
	}
	if out, err := exec.Command(filepath.Join(first.Lower[0], "app")).Output(); err != nil || string(out) != "ran\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	again, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Lower[0] != first.Lower[0] {
		t.Errorf("after a restart the layer is at %s, it was at %s", again.Lower[0], first.Lower[0])
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := oci.New(oci.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := oci.New(oci.Config{Dir: dir}); err == nil {
		t.Error("two stores own one folder")
	}
}

// TestRootless unpacks as a user without privileges, in a process of its own.
func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run by a user without privileges, every test here is this one")
	}
	dir, err := os.MkdirTemp("", "fairlead-rootless") // the test's own folders are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "oci.test")
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(program, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "TestLayerForm|TestHostile|TestLinksAre|TestPullAndPolicies|TestPrune", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "GOCACHE="+filepath.Join(dir, "cache"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLayerForm") {
		t.Errorf("%v\n%s", err, out)
	}
}

// layerOf is a tar archive of empty files and folders (names that end in a slash).
func layerOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestOverlayShowsTheImage mounts the layers and looks at what a process in the image would see.
func TestOverlayShowsTheImage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	s := ocitest.Store(t)
	d := ocitest.AddLayers(t, s, "app", "v1",
		layerOf(t, "a/", "a/gone", "a/kept", "b/", "b/old", "c/", "c/under"),
		layerOf(t, "a/", "a/.wh.gone", "b/", "b/.wh..wh..opq", "b/new", ".wh.c", "top"),
	)
	root, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	merged := t.TempDir()
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(root.Lower, ":")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(merged, unix.MNT_DETACH)
	var seen []string
	err = filepath.WalkDir(merged, func(path string, _ fs.DirEntry, err error) error {
		if rel, relErr := filepath.Rel(merged, path); relErr == nil && rel != "." {
			seen = append(seen, rel)
		}
		return err
	})
	if want := "a a/kept b b/new top"; err != nil || strings.Join(seen, " ") != want {
		t.Errorf("the image shows %q, %v, want %q", strings.Join(seen, " "), err, want)
	}
}
