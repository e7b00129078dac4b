package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/oci"
)

// TestDebianBase makes a base image of Debian with debootstrap and umoci, pushes it with skopeo, builds a Dockerfile on
// it through our registry, and runs the result. It downloads some 40 MB, so it is asked for.
func TestDebianBase(t *testing.T) {
	if os.Getenv("FAIRLEAD_TEST_DEBIAN") == "" {
		t.Skip("FAIRLEAD_TEST_DEBIAN is not set: this test downloads a Debian")
	}
	needs(t, "debootstrap", "umoci", "skopeo", "buildah")
	dir := t.TempDir()
	debian, layout := filepath.Join(dir, "debian"), filepath.Join(dir, "layout")
	s, host := startStore(t)
	for _, args := range [][]string{
		{"debootstrap", "--variant=minbase", "bookworm", debian},
		{"umoci", "init", "--layout", layout},
		{"umoci", "new", "--image", layout + ":base"},
		{"umoci", "insert", "--image", layout + ":base", debian, "/"},
		{"skopeo", "copy", "--dest-tls-verify=false", "oci:" + layout + ":base", "docker://" + host + "/debian:base"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	source := writeFiles(t, map[string]string{
		"Dockerfile": "FROM " + host + "/debian:base\nRUN dpkg --version > /made && rm /etc/motd && useradd app\nUSER app\nENTRYPOINT [\"/bin/sh\", \"-c\", \"cat /made /etc/debian_version\"]\n",
	})
	r := mustBuild(t, build.Request{Dir: source, CacheDir: t.TempDir()})
	if err := build.Push(t.Context(), r, host+"/app:v1", build.PushOptions{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: "app:v1"})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.RootFS(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	out, err := command(t, root).Output()
	if err != nil || !strings.Contains(string(out), "Debian 'dpkg'") || !strings.Contains(string(out), "12.") {
		t.Errorf("the image prints %q, %v", out, err)
	}
}
