package sandbox_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func TestCopy(t *testing.T) {
	for _, runtime := range everyDriver() {
		t.Run(runtime, func(t *testing.T) { testCopy(t, start(t, sandbox.Config{Runtime: runtime})) })
	}
}

func testCopy(t *testing.T, m *testManager) {
	i := startReady(t, m, web(t))
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	add := func(h tar.Header, text string) {
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	add(tar.Header{Name: "sub/f", Mode: 0o640, Uid: 1000, Gid: 1001}, "text")
	add(tar.Header{Name: "sub/l", Typeflag: tar.TypeSymlink, Linkname: "f"}, "")
	w.Close()
	if err := i.CopyTo(t.Context(), "", "/in/here", &in); err != nil {
		t.Fatal(err)
	}
	expect(t, i, "text", "read", "/in/here/sub/l")
	expect(t, i, "-rw-r----- 1000:1001", "stat", "/in/here/sub/f")
	var out bytes.Buffer
	if err := i.CopyFrom(t.Context(), "app", "/in/here", &out); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "here/ here/sub/ here/sub/f here/sub/l" {
		t.Errorf("copied %s", got)
	}
	// A link that an instance lays does not lead out of it.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the machine"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, i, "", "symlink", filepath.Dir(secret), "/tmp/out")
	if err := i.CopyFrom(t.Context(), "", "/tmp/out/secret", io.Discard); err == nil {
		t.Error("a file of the machine was read through a link")
	}
	in.Reset()
	w = tar.NewWriter(&in)
	add(tar.Header{Name: "secret", Mode: 0o600}, "changed")
	w.Close()
	if err := i.CopyTo(t.Context(), "", "/tmp/out", &in); err == nil {
		t.Error("a file of the machine was written through a link")
	}
	if data, _ := os.ReadFile(secret); string(data) != "of the machine" {
		t.Errorf("the machine's file is %q", data)
	}
}
