package build_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/build"
)

// hangingUp is the address of a registry that ends every connection at once, and how often it was asked.
func hangingUp(t *testing.T) (url string, asked *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return "http://" + listener.Addr().String() + "/", asked
}

// skipShort leaves out what packs a whole Node or Python several times, which takes minutes with the race detector.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("packs whole runtimes")
	}
}

// leftTarball is the package left@1.2.3 as a registry has it.
func leftTarball(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{{"package.json", `{"name":"left","version":"1.2.3","main":"index.js"}`}, {"index.js", `module.exports = (s) => "<" + s;`}} {
		if err := w.WriteHeader(&tar.Header{Name: "package/" + f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// npmRegistry serves left@1.2.3 and counts the requests.
func npmRegistry(t *testing.T) (url, integrity string, asked *atomic.Int32) {
	t.Helper()
	tarball, asked := leftTarball(t), new(atomic.Int32)
	sum := sha512.Sum512(tarball)
	integrity = "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/left/-/left-1.2.3.tgz" {
			_, _ = w.Write(tarball)
			return
		}
		fmt.Fprintf(w, `{"name":"left","dist-tags":{"latest":"1.2.3"},"versions":{"1.2.3":{"name":"left","version":"1.2.3","dist":{"integrity":%q,"tarball":"http://%s/left/-/left-1.2.3.tgz"}}}}`, integrity, r.Host)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/", integrity, asked
}

func nodeSource(integrity string) map[string]string {
	return map[string]string{
		"package.json": `{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"left":"1.2.3"},"devDependencies":{"dev":"1.0.0"}}`,
		"server.js":    nodeServer,
		"package-lock.json": `{"name":"app","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
			"":{"name":"app","version":"1.0.0","dependencies":{"left":"1.2.3"},"devDependencies":{"dev":"1.0.0"}},
			"node_modules/left":{"version":"1.2.3","integrity":"` + integrity + `"},
			"node_modules/dev":{"version":"1.0.0","dev":true}}}`,
	}
}

// TestNodeAsksNoNetwork builds from npm's cache, and from node_modules, without a request; without either it ends soon.
func TestNodeAsksNoNetwork(t *testing.T) {
	skipShort(t)
	needs(t, "node", "npm")
	registry, integrity, asked := npmRegistry(t)
	t.Setenv("npm_config_cache", t.TempDir())
	t.Setenv("npm_config_registry", registry)
	q := build.Request{Dir: writeFiles(t, nodeSource(integrity)), Base: "host", CacheDir: t.TempDir()}
	first := mustBuild(t, q)
	before := asked.Load()
	if before == 0 {
		t.Fatal("the first build asked for nothing")
	}
	q.CacheDir = t.TempDir()
	if again := mustBuild(t, q); again.Digest != first.Digest || asked.Load() != before {
		t.Errorf("from npm's cache: %s after %s, %d requests", again.Digest, first.Digest, asked.Load()-before)
	}

	t.Setenv("npm_config_cache", t.TempDir())
	nowhere, attempts := hangingUp(t)
	t.Setenv("npm_config_registry", nowhere)
	q.CacheDir = t.TempDir()
	_, err := build.Build(t.Context(), q)
	var try interface{ Try() string }
	if !errors.As(err, &try) || !strings.Contains(try.Try(), "npm ci in the folder") {
		t.Errorf("without a network: %v", err)
	}
	if n := attempts.Load(); n == 0 || n > 2 {
		t.Errorf("%d attempts at a registry that is not there", n)
	}

	files := nodeSource(integrity)
	files["node_modules/left/package.json"] = `{"name":"left","version":"1.2.3","main":"index.js"}`
	files["node_modules/left/index.js"] = `module.exports = (s) => "<" + s;`
	files["node_modules/dev/package.json"] = `{"name":"dev","version":"1.0.0"}`
	files["node_modules/.package-lock.json"] = `{}`
	q.Dir = writeFiles(t, files)
	own := mustBuild(t, q)
	if own.Digest != first.Digest {
		t.Errorf("node_modules of the source gives %s, npm %s", own.Digest, first.Digest)
	}
	if got := answer(t, pushed(t, own), "/x"); got != "node says </x" {
		t.Errorf("the server says %q", got)
	}
	if err := os.WriteFile(filepath.Join(q.Dir, "node_modules/left/package.json"), []byte(`{"name":"left","version":"1.2.4"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	q.CacheDir = t.TempDir()
	if _, err := build.Build(t.Context(), q); err == nil {
		t.Error("node_modules with another version than the lock's was taken")
	}
}

// wheel writes left-1.2.3 as pip installs it, into a folder of its own.
func wheel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "left-1.2.3-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, file := range [][2]string{
		{"left.py", "def pad(s): return '<' + s\n"},
		{"left-1.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: left\nVersion: 1.2.3\n"},
		{"left-1.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"left-1.2.3.dist-info/RECORD", "left.py,,\nleft-1.2.3.dist-info/METADATA,,\nleft-1.2.3.dist-info/WHEEL,,\nleft-1.2.3.dist-info/RECORD,,\n"},
	} {
		entry, err := w.Create(file[0])
		if err == nil {
			_, err = entry.Write([]byte(file[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPythonAsksNoNetwork builds without requirements, and with wheels of this machine; without these it ends soon.
func TestPythonAsksNoNetwork(t *testing.T) {
	skipShort(t)
	needs(t, "python3", "pip")
	nowhere, attempts := hangingUp(t)
	t.Setenv("PIP_INDEX_URL", nowhere)
	t.Setenv("PIP_FIND_LINKS", "")
	cache := t.TempDir()
	files := map[string]string{"main.py": "import left\nprint(left.pad('x'))\n", "requirements.txt": "# nothing yet\n\n"}
	mustBuild(t, build.Request{Dir: writeFiles(t, files), Base: "host", CacheDir: cache})

	files["requirements.txt"] = "left==1.2.3\n"
	q := build.Request{Dir: writeFiles(t, files), Base: "host", CacheDir: cache}
	_, err := build.Build(t.Context(), q)
	var try interface{ Try() string }
	if !errors.As(err, &try) || !strings.Contains(try.Try(), "PIP_FIND_LINKS=FOLDER") {
		t.Errorf("without a network: %v", err)
	}
	if n := attempts.Load(); n == 0 || n > 2 {
		t.Errorf("%d attempts at a registry that is not there", n)
	}
	t.Setenv("PIP_FIND_LINKS", wheel(t))
	if r := mustBuild(t, q); !strings.Contains(string(r.SBOM), "pkg:pypi/left@1.2.3") {
		t.Errorf("SBOM is %s", r.SBOM)
	}
}
