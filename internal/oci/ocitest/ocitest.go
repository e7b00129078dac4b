// Package ocitest makes small images for tests, without a network and without any tool but Go.
//
//	root := ocitest.RootFS(t, ocitest.Spec{Source: `package main; func main() { println("hi") }`})
//	// mount overlay with root.Lower, run root.Image.Config.Config.Entrypoint
package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// Spec describes an image. The zero value is one empty layer.
type Spec struct {
	// Source is the text of a Go main package, compiled statically and put at /app; it becomes the entry point.
	Source string
	// Package is a Go main package of this module to compile instead of Source, such as "./testdata/echo", relative to
	// the test's folder.
	Package string
	// Files are added, by path without a leading slash; their mode is 0644.
	Files map[string]string
	// Config is the image's configuration; an empty Entrypoint becomes /app.
	Config ocispec.ImageConfig
}

// Store opens an image store in a temporary folder, closed with the test.
func Store(t testing.TB) *oci.Store {
	t.Helper()
	s, err := oci.New(oci.Config{Dir: t.TempDir(), Hosts: []string{"127.0.0.1:5000", "localhost:5000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Add puts an image into a store as repo:tag and gives its digest.
func Add(t testing.TB, s *oci.Store, repo, tag string, spec Spec) digest.Digest {
	t.Helper()
	config := spec.Config
	if spec.hasProgram() && len(config.Entrypoint) == 0 {
		config.Entrypoint = []string{"/app"}
	}
	return addImage(t, s, repo, tag, config, [][]byte{spec.layer(t)})
}

// AddLayers puts an image of layers, given as tar archives from the base upwards, into a store as repo:tag.
func AddLayers(t testing.TB, s *oci.Store, repo, tag string, layers ...[]byte) digest.Digest {
	t.Helper()
	return addImage(t, s, repo, tag, ocispec.ImageConfig{}, layers)
}

func addImage(t testing.TB, s *oci.Store, repo, tag string, config ocispec.ImageConfig, layers [][]byte) digest.Digest {
	t.Helper()
	image := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, Config: config, RootFS: ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, layer := range layers {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(layer); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, digest.FromBytes(layer))
		manifest.Layers = append(manifest.Layers, putBlob(t, s, repo, ocispec.MediaTypeImageLayerGzip, packed.Bytes()))
	}
	manifest.Config = putBlob(t, s, repo, ocispec.MediaTypeImageConfig, marshal(t, image))
	d, err := s.PutManifest(repo, tag, ocispec.MediaTypeImageManifest, marshal(t, manifest))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// RootFS makes an image in a store of its own and unpacks it; the test's end closes it.
func RootFS(t testing.TB, spec Spec) *oci.RootFS {
	t.Helper()
	s := Store(t)
	root, err := s.RootFS(t.Context(), Add(t, s, "test", "latest", spec))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func putBlob(t testing.TB, s *oci.Store, repo, mediaType string, data []byte) ocispec.Descriptor {
	t.Helper()
	d := digest.FromBytes(data)
	if err := s.PutBlob(t.Context(), repo, d, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s *Spec) hasProgram() bool { return s.Source != "" || s.Package != "" }

func (s *Spec) layer(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, content []byte) {
		h.Size, h.ModTime = int64(len(content)), time.Unix(0, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	if s.hasProgram() {
		program, err := os.ReadFile(Program(t, s.Source, s.Package))
		if err != nil {
			t.Fatal(err)
		}
		add(tar.Header{Name: "app", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	}
	var names []string
	for name := range s.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if dir := path.Dir(name); dir != "." {
			add(tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
		}
		add(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, []byte(s.Files[name]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Program compiles a Go main package, given as text or as the path of a package, to a static program and gives its path.
func Program(t testing.TB, source, pkg string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if source != "" {
		pkg = filepath.Join(dir, "main.go")
		if err := os.WriteFile(pkg, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return program
}
