package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// entry is one tar entry of a test archive.
type entry struct {
	tar.Header
	content string
}

func dirEntry(name string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func fileEntry(name, content string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content: content}
}

func linkEntry(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}}
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpackInto unpacks below a folder that has a sentinel beside it, and checks afterwards that nothing else is there.
func unpackInto(t testing.TB, archive []byte, limits UnpackLimits) (string, error) {
	t.Helper()
	outer := t.TempDir()
	dir := filepath.Join(outer, "root")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(outer, "sentinel"), []byte("untouched"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := unpackTar(t.Context(), dir, bytes.NewReader(archive), limits, slog.New(slog.DiscardHandler))
	if data, readErr := os.ReadFile(filepath.Join(outer, "sentinel")); readErr != nil || string(data) != "untouched" {
		t.Fatalf("the archive reached the file beside the root: %q, %v", data, readErr)
	}
	if beside, readErr := os.ReadDir(outer); readErr != nil || len(beside) != 2 {
		t.Fatalf("the archive wrote beside the root: %v, %v", beside, readErr)
	}
	return dir, err
}

func TestHostileArchivesAreRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	trusted := fileEntry("f", "")
	trusted.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}
	owner := fileEntry("f", "")
	owner.Uid = -1
	device := entry{Header: tar.Header{Name: "etc/disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}}
	var deep []entry
	for range 20 {
		deep = append(deep, fileEntry("f", "0123456789"))
	}
	for name, c := range map[string]struct {
		entries []entry
		limits  UnpackLimits
		want    string
	}{
		"dot dot":                    {entries: []entry{fileEntry("../evil", "x")}, want: `".."`},
		"dot dot inside":             {entries: []entry{fileEntry("a/../../evil", "x")}, want: `".."`},
		"hard link up":               {entries: []entry{linkEntry(tar.TypeLink, "f", "../sentinel")}, want: "outside of the layer"},
		"hard link to the host":      {entries: []entry{linkEntry(tar.TypeLink, "f", outside)}, want: "which the layer does not have"},
		"hard link through a link":   {entries: []entry{linkEntry(tar.TypeSymlink, "d", ".."), linkEntry(tar.TypeLink, "f", "d/sentinel")}, want: "which the layer does not have"},
		"hard link to a directory":   {entries: []entry{dirEntry("d"), linkEntry(tar.TypeLink, "f", "d")}, want: "which is not a file"},
		"hard link to a whiteout":    {entries: []entry{fileEntry(".wh.x", ""), linkEntry(tar.TypeLink, "f", "x")}, want: "which is not a file"},
		"device":                     {entries: []entry{device}, want: "device file"},
		"kernel attribute":           {entries: []entry{trusted}, want: "the kernel's own"},
		"owner":                      {entries: []entry{owner}, want: "is not a user and group"},
		"whiteout of nothing":        {entries: []entry{fileEntry(".wh.", "")}, want: "hides nothing"},
		"whiteout of the directory":  {entries: []entry{fileEntry("a/.wh..", "")}, want: "hides nothing"},
		"whiteout of the parent":     {entries: []entry{fileEntry("a/.wh...", "")}, want: "hides nothing"},
		"file instead of the root":   {entries: []entry{fileEntry(".", "x")}, want: "replaces the root"},
		"link instead of the root":   {entries: []entry{linkEntry(tar.TypeSymlink, ".", "/etc")}, want: "replaces the root"},
		"below a file":               {entries: []entry{fileEntry("f", "x"), fileEntry("f/g", "x")}, want: "not a directory"},
		"below a pipe":               {entries: []entry{{Header: tar.Header{Name: "p", Typeflag: tar.TypeFifo}}, fileEntry("p/g", "x")}, want: "not a directory"},
		"loop of links":              {entries: []entry{linkEntry(tar.TypeSymlink, "a", "b"), linkEntry(tar.TypeSymlink, "b", "a"), fileEntry("a/f", "x")}, want: "too many symbolic links"},
		"too many entries":           {entries: deep, limits: UnpackLimits{Entries: 10}, want: "more than 10 entries"},
		"too many bytes":             {entries: deep, limits: UnpackLimits{Bytes: 100}, want: "more than 100 bytes"},
		"long name":                  {entries: []entry{fileEntry(strings.Repeat("a/", 3000)+"f", "x")}, want: "longer than"},
		"unknown type":               {entries: []entry{{Header: tar.Header{Name: "f", Typeflag: tar.TypeCont}}}, want: "is not one an image may have"},
		"link without a target name": {entries: []entry{linkEntry(tar.TypeSymlink, "f", "")}, want: "link target is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpackInto(t, archiveOf(t, c.entries...), c.limits)
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want a refusal with %q", err, c.want)
			}
		})
	}
}

func TestLinksAreFollowedInsideTheRoot(t *testing.T) {
	dir, err := unpackInto(t, archiveOf(t,
		dirEntry("usr/lib"), linkEntry(tar.TypeSymlink, "lib", "usr/lib"), fileEntry("lib/a", "1"),
		linkEntry(tar.TypeSymlink, "abs", "/usr/lib"), fileEntry("abs/b", "2"),
		linkEntry(tar.TypeSymlink, "up", "../../../.."), fileEntry("up/c", "3"),
		linkEntry(tar.TypeSymlink, "away", "/etc"), fileEntry("away/passwd", "4"),
		fileEntry("/rooted", "5"), fileEntry("./dotted", "6"), linkEntry(tar.TypeLink, "hard", "abs/b"),
		linkEntry(tar.TypeSymlink, "file", "/etc/shadow"), fileEntry("file", "7"),
	), UnpackLimits{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"usr/lib/a": "1", "usr/lib/b": "2", "c": "3", "etc/passwd": "4", "rooted": "5", "dotted": "6", "hard": "2", "file": "7",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v, want %q", path, got, err, want)
		}
	}
	if os.Geteuid() == 0 {
		if data, err := os.ReadFile("/etc/passwd"); err != nil || string(data) == "4" {
			t.Fatal("the archive wrote to the host")
		}
	}
}

func TestLayerForm(t *testing.T) {
	at := time.Unix(1_600_000_000, 0)
	suid := fileEntry("bin/su", "s")
	suid.Mode, suid.Uid, suid.Gid, suid.ModTime = 0o4755, 7, 8, at
	suid.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.selinux": "left out"}
	dated := dirEntry("bin")
	dated.ModTime, dated.Mode = at, 0o1711
	dir, err := unpackInto(t, archiveOf(t,
		dated, suid, fileEntry("etc/.wh.gone", ""), fileEntry("var/.wh..wh..opq", ""), fileEntry("var/new", "n"),
		fileEntry(".wh..wh.plnk", ""), dirEntry("was"), fileEntry("was/dir", "x"), fileEntry("was", "a file now"),
		entry{Header: tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o622}},
		entry{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
	), UnpackLimits{})
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "etc/gone"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("a whiteout became %v, mode %o, device %d", err, st.Mode, st.Rdev)
	}
	attr := "trusted.overlay.opaque"
	if os.Geteuid() != 0 {
		attr = "user.overlay.opaque"
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(dir, "var"), attr, value); err != nil || string(value[:n]) != "y" {
		t.Errorf("an opaque directory has %s %q, %v", attr, value[:max(n, 0)], err)
	}
	info, err := os.Stat(filepath.Join(dir, "bin/su"))
	if err != nil || info.Mode() != os.ModeSetuid|0o755 || !info.ModTime().Equal(at) {
		t.Errorf("the set-user-ID file has mode %v, time %v, %v", info.Mode(), info.ModTime(), err)
	}
	if err := unix.Stat(filepath.Join(dir, "bin/su"), &st); os.Geteuid() == 0 && (err != nil || st.Uid != 7 || st.Gid != 8) {
		t.Errorf("its owner is %d:%d, %v", st.Uid, st.Gid, err)
	}
	if n, err := unix.Getxattr(filepath.Join(dir, "bin/su"), "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("its attribute is %q, %v", value[:max(n, 0)], err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bin")); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o711 || !info.ModTime().Equal(at) {
		t.Errorf("the directory has mode %v, time %v, %v", info.Mode(), info.ModTime(), err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "was")); err != nil || string(data) != "a file now" {
		t.Errorf("a file over a directory has %q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "pipe")); err != nil || info.Mode() != os.ModeNamedPipe|0o622 {
		t.Errorf("the pipe has mode %v, %v", info.Mode(), err)
	}
	for _, absent := range []string{"dev/null", ".wh..wh.plnk", "wh.plnk"} {
		if _, err := os.Lstat(filepath.Join(dir, absent)); err == nil {
			t.Errorf("%s is there", absent)
		}
	}
}

func TestBombIsRefused(t *testing.T) {
	packed, id := zeros(t, ratioFreeBytes+(64<<20))
	dir := t.TempDir()
	path := filepath.Join(dir, "blob")
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = unpackBlob(t.Context(), root, f, id, UnpackLimits{Entries: 10}, slog.New(slog.DiscardHandler))
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "which its size does not explain") {
		t.Errorf("%d bytes that unpack to %d: %v", len(packed), ratioFreeBytes+(64<<20), err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archiveOf(f, dirEntry("a"), fileEntry("a/b", "x"), linkEntry(tar.TypeSymlink, "l", "../.."), fileEntry("l/sentinel", "y")))
	f.Add(archiveOf(f, linkEntry(tar.TypeSymlink, "l", "/"), linkEntry(tar.TypeLink, "h", "l/etc/passwd"), fileEntry("l/.wh.x", "")))
	f.Add(archiveOf(f, fileEntry("a/.wh..wh..opq", ""), dirEntry("a/b"), linkEntry(tar.TypeSymlink, "a/b", ".."), fileEntry("a/b/c", "z")))
	f.Fuzz(func(t *testing.T, archive []byte) {
		_, _ = unpackInto(t, archive, UnpackLimits{Bytes: 1 << 20, Entries: 100}) // unpackInto checks what matters
	})
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{
		"nginx", "127.0.0.1:5000/a/b:v1", "localhost/x", "docker.io/library/nginx:1.2@sha256:" + strings.Repeat("a", 64),
		"[::1]:5000/x", "A/b", "a:b/c", "ghcr.io/x/y@sha512:zz", "", "@", ":", "/", "x:", "a//b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseReference(text)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Errorf("%q parses to %+v, which is written %q and parses to %+v, %v", text, r, r.String(), again, err)
		}
		if r.String() != text {
			t.Errorf("%q is written back as %q", text, r.String())
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add("application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:`+strings.Repeat("a", 64)+`","size":1},"layers":[]}`))
	f.Add("application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:`+strings.Repeat("b", 64)+`","size":2}]}`))
	f.Add("", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","subject":{}}`))
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		p, err := parseManifest(mediaType, data)
		if err != nil {
			return
		}
		if p.isIndex == (len(p.blobs) > 0) {
			t.Errorf("a manifest is an index (%v) with %d blobs", p.isIndex, len(p.blobs))
		}
		for _, d := range p.references() {
			if d.Validate() != nil {
				t.Errorf("digest %q was let through", d)
			}
		}
	})
}

func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="}}}`))
	f.Add([]byte(`{"ghcr.io":{"username":"a","password":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseCredentials(data)
		if err != nil {
			return
		}
		for _, c := range all {
			if strings.HasPrefix(c.Scope, "https://") {
				t.Errorf("scope %q kept its scheme", c.Scope)
			}
		}
	})
}

func FuzzEndpoint(f *testing.F) {
	f.Add("a/b/manifests/latest")
	f.Add("a/blobs/uploads/")
	f.Add("tags/list/tags/list")
	f.Fuzz(func(t *testing.T, path string) {
		e, ok := parseEndpoint(path)
		if ok && e.repo == "" && strings.Trim(path, "/") == path && !strings.HasPrefix(path, "/") && path != "" && strings.Count(path, "/") > 2 {
			t.Errorf("%q has an endpoint without a repository", path)
		}
	})
}

// zeros is a gzip layer with one file of n zero bytes.
func zeros(t testing.TB, n int64) ([]byte, digest.Digest) {
	t.Helper()
	var packed bytes.Buffer
	sum := digest.SHA256.Digester()
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(io.MultiWriter(z, sum.Hash()))
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: n, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for left := n; left > 0; left -= int64(len(block)) {
		if _, err := w.Write(block[:min(left, int64(len(block)))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes(), sum.Digest()
}
