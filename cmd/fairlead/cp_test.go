package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEnd(t *testing.T) {
	for text, want := range map[string]copyEnd{
		"hello:/etc/hosts": {"hello", "/etc/hosts"}, "hello:": {"hello", "."}, "./a:b": {"", "./a:b"}, "/a:b": {"", "/a:b"},
		"file": {"", "file"}, "..": {"", ".."}, ":x": {"", ":x"}, "hello:a:b": {"hello", "a:b"},
	} {
		if got := parseEnd(text); got != want {
			t.Errorf("parseEnd(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestPackAndUnpack(t *testing.T) {
	source := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a.txt", "one", 0o644)
	write("sub/run", "two", 0o755)
	if err := os.Symlink("a.txt", filepath.Join(source, "link")); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	archive := tar.NewWriter(&buf)
	if err := pack(archive, source, "data"); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	for destination, where := range map[string]string{"": "data", "renamed": "renamed"} {
		folder := t.TempDir()
		if err := unpack(bytes.NewReader(buf.Bytes()), "data", filepath.Join(folder, destination), func(what string) { t.Errorf("left out %s", what) }); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(folder, where, "link")); err != nil || string(text) != "one" {
			t.Errorf("%s/link has %q, %v", where, text, err)
		}
		if info, err := os.Stat(filepath.Join(folder, where, "sub/run")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s/sub/run is %v, %v", where, info, err)
		}
	}
}

// unpack is unpackTo for a destination as people write it.
func unpack(archive io.Reader, base, destination string, leftOut func(string)) error {
	to, err := placeOf(destination, base)
	if err != nil {
		return err
	}
	return unpackTo(archive, base, to, leftOut)
}

// TestUnpackWorkingFolder: of a folder without a name of its own the entries keep theirs.
func TestUnpackWorkingFolder(t *testing.T) {
	folder := t.TempDir()
	if err := unpack(bytes.NewReader(archiveOf(t, [2]string{"./.env", "x"})), ".", folder, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, ".env")); err != nil || string(text) != "x" {
		t.Errorf(".env has %q, %v", text, err)
	}
}

// archiveOf makes an archive of single files, and of links where the text begins with "->".
func archiveOf(t *testing.T, entries ...[2]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		header := &tar.Header{Name: e[0], Mode: 0o644, Size: int64(len(e[1])), Typeflag: tar.TypeReg}
		if link, isLink := strings.CutPrefix(e[1], "->"); isLink {
			header.Typeflag, header.Linkname, header.Size, e[1] = tar.TypeSymlink, link, 0, ""
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestUnpackStaysInside feeds archives that a hostile instance could send.
func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	for name, archive := range map[string][]byte{
		"a parent":           archiveOf(t, [2]string{"data/../../evil", "x"}),
		"an absolute name":   archiveOf(t, [2]string{"/evil", "x"}),
		"through a link":     archiveOf(t, [2]string{"data", "->" + outside}, [2]string{"data/evil", "x"}),
		"through a relative": archiveOf(t, [2]string{"data/l", "->../.."}, [2]string{"data/l/evil", "x"}),
		"a parent of here":   archiveOf(t, [2]string{"../evil", "x"}),
		"another name":       archiveOf(t, [2]string{".bashrc", "x"}),
	} {
		parent := t.TempDir()
		folder := filepath.Join(parent, "inner")
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		err := unpack(bytes.NewReader(archive), "data", folder, func(string) {})
		if err == nil {
			t.Errorf("%s: unpacked without an error", name)
		}
		for _, where := range []string{parent, outside} {
			if _, err := os.Lstat(filepath.Join(where, "evil")); err == nil {
				t.Errorf("%s: wrote outside the destination", name)
			}
		}
	}
}

func FuzzUnpack(f *testing.F) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "data/x", Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, archive []byte) {
		parent := t.TempDir()
		folder := filepath.Join(parent, "inner")
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unpack(bytes.NewReader(archive), "data", folder, func(string) {}) //nolint:errcheck // only where it writes matters
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Fatalf("beside the destination there are %v, %v", entries, err)
		}
	})
}
