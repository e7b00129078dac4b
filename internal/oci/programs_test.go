package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// program runs a tool of the machine, or skips the test where it is not installed.
func program(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("%s is not installed", args[0])
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func serve(t *testing.T, s *oci.Store) string {
	t.Helper()
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// exported writes an image as an OCI layout into a folder.
func exported(t *testing.T, s *oci.Store, reference string) string {
	t.Helper()
	var out bytes.Buffer
	if err := s.Export(reference, &out); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSkopeo(t *testing.T) {
	source := ocitest.Store(t)
	d := ocitest.Add(t, source, "team/app", "v1", text("content"))
	layout := exported(t, source, "team/app:v1")
	s := open(t, oci.Config{})
	host := serve(t, s)
	program(t, "skopeo", "copy", "--dest-tls-verify=false", "oci:"+layout+":v1", "docker://"+host+"/team/app:v1")
	if got := resolve(t, s, "team/app:v1", ""); got.Digest != d {
		t.Errorf("skopeo pushed %s, want %s", got.Digest, d)
	}
	if out := program(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+host+"/team/app"); !strings.Contains(out, `"v1"`) {
		t.Errorf("tags are %s", out)
	}
	program(t, "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+host+"/team/app:v1", "docker://"+host+"/other/name:v2")
	if got := resolve(t, s, "other/name:v2", ""); got.Digest != d {
		t.Errorf("copied within the registry it is %s, want %s", got.Digest, d)
	}
	archive := filepath.Join(t.TempDir(), "docker.tar")
	program(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+host+"/team/app:v1", "docker-archive:"+archive+":saved/app:v3")
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, err := s.Import(t.Context(), "", f); err != nil || len(names) != 1 {
		t.Fatalf("import gives %v, %v", names, err)
	}
	root, err := s.RootFS(t.Context(), resolve(t, s, "docker.io/saved/app:v3", "").Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if data, err := os.ReadFile(filepath.Join(root.Lower[0], "file")); err != nil || string(data) != "content" {
		t.Errorf("the file has %q, %v", data, err)
	}
	program(t, "skopeo", "delete", "--tls-verify=false", "docker://"+host+"/team/app:v1")
	if _, err := s.Inspect("team/app:v1"); err == nil {
		t.Error("skopeo deleted it, and it is still there")
	}
}

func TestBuildah(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("buildah is set up for root here")
	}
	s := open(t, oci.Config{})
	host := serve(t, s)
	ocitest.Add(t, s, "base", "latest", text("content"))
	dir := t.TempDir()
	file := fmt.Sprintf("FROM %s/base\nCOPY more /more\n", host)
	for name, content := range map[string]string{"Dockerfile": file, "more": "more"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built := host + "/built:latest"
	program(t, "buildah", "build", "--tls-verify=false", "--tag", built, dir)
	t.Cleanup(func() { _ = exec.Command("buildah", "rmi", "--force", built, host+"/base").Run() }) // its own store is not ours
	program(t, "buildah", "push", "--tls-verify=false", built)
	root, err := s.RootFS(t.Context(), resolve(t, s, "built", "").Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if len(root.Lower) != 2 {
		t.Errorf("the image has %d layers, want 2", len(root.Lower))
	}
	if data, err := os.ReadFile(filepath.Join(root.Lower[0], "more")); err != nil || string(data) != "more" {
		t.Errorf("the uppermost layer has %q, %v", data, err)
	}
}

// TestDebianRegistry pulls from Debian's docker-registry what skopeo pushed there.
func TestDebianRegistry(t *testing.T) {
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("docker-registry is not installed")
	}
	host := startDebianRegistry(t)
	source := ocitest.Store(t)
	d := ocitest.Add(t, source, "team/app", "v1", text("content"))
	program(t, "skopeo", "copy", "--dest-tls-verify=false", "oci:"+exported(t, source, "team/app:v1")+":v1", "docker://"+host+"/team/app:v1")
	if got := resolve(t, open(t, oci.Config{}), host+"/team/app:v1", ""); got.Digest != d {
		t.Errorf("pulled %s, want %s", got.Digest, d)
	}
}

func startDebianRegistry(t testing.TB) string {
	t.Helper()
	host := fmt.Sprint("127.0.0.1:", 15000+rand.IntN(15000)) // the kernel gives none of these to anybody by itself
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host
		}
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

// TestUnpacksLikeUmoci unpacks the same layer with umoci and compares the trees.
func TestUnpacksLikeUmoci(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners can only be compared as root")
	}
	s := ocitest.Store(t)
	d := ocitest.AddLayers(t, s, "app", "v1", oddLayer(t))
	bundle := filepath.Join(t.TempDir(), "bundle")
	program(t, "umoci", "unpack", "--image", exported(t, s, "app:v1")+":v1", bundle)
	root, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, want := describeTree(t, root.Lower[0]), describeTree(t, filepath.Join(bundle, "rootfs"))
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("unpacked here: %s\nby umoci:      %s", g, w)
		}
	}
}

// oddLayer is a layer with one of everything an image may have.
func oddLayer(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	at := time.Unix(1_500_000_000, 123_000_000)
	for _, h := range []tar.Header{
		{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o2775, Gid: 50},
		{Name: "usr/bin/tool", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 4},
		{Name: "usr/bin/alias", Typeflag: tar.TypeLink, Linkname: "usr/bin/tool"},
		{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin", Uid: 3},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 1000, Gid: 1001},
		{Name: "etc/dangling", Typeflag: tar.TypeSymlink, Linkname: "/nowhere"},
		{Name: "etc/secret", Typeflag: tar.TypeReg, Mode: 0, Size: 0, Uid: 70000, Gid: 80000},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "run/fifo", Typeflag: tar.TypeFifo, Mode: 0o640},
		{Name: "name with spaces and \u00fc", Typeflag: tar.TypeReg, Mode: 0o600, Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
		{Name: strings.Repeat("long/", 60) + "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: 2},
	} {
		h.ModTime, h.Format = at, tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("z"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func describeTree(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %v %d:%d", rel, info.Mode(), st.Uid, st.Gid)
		// Folders that no entry describes have the time of unpacking.
		if !strings.HasPrefix(rel, "long") && rel != "run" {
			line += fmt.Sprint(" ", info.ModTime().UnixNano())
		}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %q", st.Nlink, data)
		}
		if target, err := os.Readlink(path); err == nil {
			line += " -> " + target
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// TestCrane uses what the crane program is made of.
func TestCrane(t *testing.T) {
	source := ocitest.Store(t)
	d := ocitest.Add(t, source, "team/app", "v1", text("content"))
	s := open(t, oci.Config{})
	from, to := serve(t, source)+"/team/app:v1", serve(t, s)
	if err := crane.Copy(from, to+"/copied:v2"); err != nil {
		t.Fatal(err)
	}
	if got, err := crane.Digest(to + "/copied:v2"); err != nil || got != d.String() {
		t.Errorf("copied it is %s, %v, want %s", got, err, d)
	}
	image, err := crane.Pull(to + "/copied:v2")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(validate.Image(image), crane.Push(image, to+"/other:v3"), crane.Tag(to+"/other:v3", "v4")); err != nil {
		t.Error(err)
	}
	if tags, err := crane.ListTags(to + "/other"); err != nil || !slices.Equal(tags, []string{"v3", "v4"}) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	if names, err := crane.Catalog(to); err != nil || !slices.Equal(names, []string{"copied", "other"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	if err := crane.Delete(to + "/other@" + d.String()); err != nil {
		t.Error(err)
	}
	if _, err := s.Inspect("other:v4"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("deleted, it gives %v", err)
	}
}
