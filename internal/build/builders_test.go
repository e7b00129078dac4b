package build_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// command is the image's entry point in its own root file system, as its own user. It needs root, to mount.
func command(t *testing.T, root *oci.RootFS, extra ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting an image needs root")
	}
	dir := t.TempDir()
	for _, sub := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(dir, "merged")
	options := "lowerdir=" + strings.Join(root.Lower, ":") + ",upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Fatalf("mount %s: %v", options, err)
	}
	t.Cleanup(func() { unix.Unmount(merged, unix.MNT_DETACH) })
	config := root.Image.Config.Config
	args := append(slices.Concat(config.Entrypoint, config.Cmd), extra...)
	program := args[0]
	if !strings.Contains(program, "/") {
		for _, folder := range []string{"usr/local/bin", "usr/bin", "bin"} {
			if _, err := os.Stat(filepath.Join(merged, folder, program)); err == nil {
				program = "/" + folder + "/" + program
				break
			}
		}
	}
	return &exec.Cmd{
		Path: program, Args: args, Env: append(slices.Clone(config.Env), "PORT=0"), Dir: config.WorkingDir, Stderr: t.Output(),
		SysProcAttr: &syscall.SysProcAttr{Chroot: merged, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}, Pdeathsig: syscall.SIGKILL},
	}
}

func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"Dockerfile wins":   {map[string]string{"Dockerfile": "FROM scratch", "go.mod": "module x"}, "dockerfile go"},
		"Procfile on go":    {map[string]string{"Procfile": "web: x", "go.mod": "module x"}, "procfile go"},
		"node":              {map[string]string{"package.json": `{"scripts":{"start":"node x.js"}}`}, "node"},
		"page with sources": {map[string]string{"package.json": `{}`, "dist/index.html": "x"}, "static"},
		"python":            {map[string]string{"requirements.txt": "", "main.py": ""}, "python"},
		"pages":             {map[string]string{"public/index.html": "x"}, "static"},
		"nothing":           {map[string]string{"readme": "x"}, ""},
	} {
		choices, err := build.Explain(writeFiles(t, c.files))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, choice := range choices {
			got = append(got, choice.Builder)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: fits %q, want %q", name, got, c.want)
		}
	}
	if _, err := build.Build(t.Context(), build.Request{Dir: writeFiles(t, map[string]string{"readme": "x"})}); !errors.Is(err, build.ErrNoBuilder) {
		t.Errorf("a folder with nothing gives %v", err)
	}
}

func TestSecondBuildIsFastAndSame(t *testing.T) {
	dir := writeFiles(t, map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": helloGo})
	q := build.Request{Dir: dir, CacheDir: t.TempDir(), Platforms: []string{"linux/amd64", "linux/arm64"}}
	first := mustBuild(t, q)
	start := time.Now()
	second := mustBuild(t, q)
	t.Logf("second build of two platforms took %v", time.Since(start))
	if first.Digest != second.Digest || first.Index == nil {
		t.Errorf("the same source gives %s and then %s", first.Digest, second.Digest)
	}
	s, host := startStore(t)
	if err := build.Push(t.Context(), second, host+"/app", build.PushOptions{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: "app"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RootFS(t.Context(), got.Digest); err != nil {
		t.Error(err)
	}
}

func TestSBOMIsAttached(t *testing.T) {
	dir := writeFiles(t, map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": helloGo})
	r := mustBuild(t, build.Request{Dir: dir})
	_, host := startStore(t)
	if err := build.Push(t.Context(), r, host+"/app", build.PushOptions{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + host + "/v2/app/referrers/" + r.Digest.String() + "?artifactType=application/spdx%2Bjson")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var index struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("referrers are %+v, %v", index, err)
	}
	var doc struct {
		SpdxVersion string
		Packages    []struct{ Name string }
	}
	if err := json.Unmarshal(r.SBOM, &doc); err != nil || doc.SpdxVersion != "SPDX-2.3" {
		t.Fatalf("SBOM has version %q, %v", doc.SpdxVersion, err)
	}
	if !slices.ContainsFunc(doc.Packages, func(p struct{ Name string }) bool { return p.Name == "stdlib" }) {
		t.Errorf("SBOM has packages %v", doc.Packages)
	}
}

func TestBinary(t *testing.T) {
	program := ocitest.Program(t, helloGo, "")
	root := pushed(t, mustBuild(t, build.Request{Dir: program}))
	if out, err := command(t, root).Output(); err != nil || string(out) != "hello from the image\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := build.Build(t.Context(), build.Request{Dir: shell}); err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("a dynamic program gives %v", err)
	}
}

// freePort gives a port on which nobody listens, of those that the kernel gives to nobody by itself; the image's server takes it by $PORT.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(15000 + rand.IntN(15000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// answer starts a server image and gives what it answers to one request.
func answer(t *testing.T, root *oci.RootFS, path string) string {
	t.Helper()
	port := freePort(t)
	cmd := command(t, root)
	cmd.Env = append(cmd.Env, "PORT="+port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		resp, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			continue // not listening yet
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	t.Fatal("the server does not answer")
	return ""
}

func TestStaticFolder(t *testing.T) {
	dir := writeFiles(t, map[string]string{"index.html": "<h1>hi</h1>", "about.html": "about", ".env": "SECRET=1", ".git/config": "x"})
	cache := t.TempDir()
	r := mustBuild(t, build.Request{Dir: dir, CacheDir: cache})
	start := time.Now()
	if again := mustBuild(t, build.Request{Dir: dir, CacheDir: cache}); again.Digest != r.Digest {
		t.Errorf("the same folder gives %s and then %s", r.Digest, again.Digest)
	}
	t.Logf("second build took %v", time.Since(start))
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(filepath.Join(home, "store"), 0o755); err != nil {
		t.Fatal(err)
	}
	if beside := mustBuild(t, build.Request{Dir: dir, CacheDir: cache, Exclude: []string{home, t.TempDir(), ""}}); beside.Digest != r.Digest {
		t.Errorf("with a folder that is excluded: %s, not %s", beside.Digest, r.Digest)
	}
	root := pushed(t, r)
	if got := answer(t, root, "/about"); got != "about" {
		t.Errorf("the page is %q", got)
	}
	for _, lower := range root.Lower {
		for _, hidden := range []string{"srv/.env", "srv/.git"} {
			if _, err := os.Lstat(filepath.Join(lower, hidden)); err == nil {
				t.Errorf("the image has %s", hidden)
			}
		}
	}
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

const nodeServer = `
const left = require("left");
require("http").createServer((q, r) => r.end("node says " + left(q.url))).listen(process.env.PORT);
`

// TestNode installs a dependency from a folder of the source, which needs no network.
func TestNode(t *testing.T) {
	needs(t, "node", "npm")
	dir := writeFiles(t, map[string]string{
		"package.json":      `{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"left":"file:left"}}`,
		"server.js":         nodeServer,
		"left/package.json": `{"name":"left","version":"1.2.3","main":"index.js"}`,
		"left/index.js":     `module.exports = (s) => "<" + s;`,
	})
	if _, err := build.Build(t.Context(), build.Request{Dir: dir, Base: "host"}); err == nil || !strings.Contains(err.Error(), "no lock file") {
		t.Errorf("without a lock: %v", err)
	}
	lock := exec.CommandContext(t.Context(), "npm", "install", "--package-lock-only", "--offline", "--no-audit")
	lock.Dir = dir
	if out, err := lock.CombinedOutput(); err != nil {
		t.Skipf("npm cannot write a lock here: %v\n%s", err, out)
	}
	cache := t.TempDir()
	r := mustBuild(t, build.Request{Dir: dir, Base: "host", CacheDir: cache})
	start := time.Now()
	if again := mustBuild(t, build.Request{Dir: dir, Base: "host", CacheDir: cache}); again.Digest != r.Digest {
		t.Errorf("the same source gives %s and then %s", r.Digest, again.Digest)
	}
	t.Logf("second build took %v", time.Since(start))
	if !strings.Contains(string(r.SBOM), "pkg:npm/left@1.2.3") {
		t.Errorf("SBOM is %s", r.SBOM)
	}
	if got := answer(t, pushed(t, r), "/x"); got != "node says </x" {
		t.Errorf("the server says %q", got)
	}
}

const pythonServer = `
import http.server, json, os, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("python says " + self.path + " " + " ".join(sys.argv[1:])).encode())

http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
`

func TestPythonAndProcfile(t *testing.T) {
	needs(t, "python3")
	dir := writeFiles(t, map[string]string{"main.py": pythonServer, "pyproject.toml": "[project]\nname = \"x\"\nversion = \"1\"\n"})
	cache := t.TempDir()
	if got := answer(t, pushed(t, mustBuild(t, build.Request{Dir: dir, Base: "host", CacheDir: cache})), "/a"); got != "python says /a " {
		t.Errorf("the server says %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "Procfile"), []byte("# how\nweb: python3 main.py \"$PORT\" two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := mustBuild(t, build.Request{Dir: dir, Base: "host", CacheDir: cache})
	if r.Builder != "procfile" {
		t.Errorf("builder is %s", r.Builder)
	}
	if got := answer(t, pushed(t, r), "/b"); !strings.HasPrefix(got, "python says /b ") || !strings.HasSuffix(got, " two") {
		t.Errorf("the server says %q", got)
	}
}

func TestProcfileOnGo(t *testing.T) {
	files := map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.24\n", "Procfile": "web: bin/hello -v --x=1",
		"main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println(os.Args[1:]) }\n",
	}
	root := pushed(t, mustBuild(t, build.Request{Dir: writeFiles(t, files)}))
	if out, err := command(t, root).Output(); err != nil || string(out) != "[-v --x=1]\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
}

// TestDockerfile builds with each tool that is installed and works; the others are skipped with the reason.
func TestDockerfile(t *testing.T) {
	for _, tool := range []string{"buildah", "podman", "docker", "buildctl"} {
		t.Run(tool, func(t *testing.T) { dockerfileWith(t, tool) })
	}
}

func dockerfileWith(t *testing.T, tool string) {
	needed := slices.Contains(strings.Split(os.Getenv("FAIRLEAD_DOCKERFILE_TOOLS"), ","), tool) // make conformance-dockerfile has its daemon
	if err := build.DockerToolWorks(t.Context(), tool); err != nil && needed {
		t.Fatal(err)
	}
	needs(t, tool)
	if os.Geteuid() != 0 {
		t.Skipf("%s is set up for root here", tool)
	}
	if err := build.DockerToolWorks(t.Context(), tool); err != nil {
		t.Skip(err)
	}
	program := ocitest.Program(t, `package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		if err := os.WriteFile("/made", []byte("made by "+os.Args[1]), 0o644); err != nil {
			panic(err)
		}
		return
	}
	data, err := os.ReadFile("/made")
	fmt.Println(string(data), err)
}
`, "")
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{
		"tool": string(data), "ignored": "x", ".dockerignore": "ignored\n",
		"Dockerfile": "FROM scratch AS first\nCOPY --chmod=755 . /\nARG WHO=nobody\nRUN [\"/tool\", \"run\"]\nFROM first\nENTRYPOINT [\"/tool\"]\n",
	})
	if err := os.Chmod(filepath.Join(dir, "tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	cache, with := t.TempDir(), build.DockerfileOptions{Tool: tool}
	r := mustBuild(t, build.Request{Dir: dir, CacheDir: cache, Dockerfile: with, Labels: map[string]string{"team": "x"}})
	start := time.Now()
	again := mustBuild(t, build.Request{Dir: dir, CacheDir: cache, Dockerfile: with, Labels: map[string]string{"team": "x"}})
	t.Logf("second build took %v", time.Since(start))
	if again.Digest != r.Digest {
		t.Errorf("the same folder gives %s and then %s", r.Digest, again.Digest)
	}
	fresh := mustBuild(t, build.Request{Dir: dir, CacheDir: cache, Dockerfile: with, NoCache: true, Labels: map[string]string{"team": "x"}})
	if fresh.Digest != r.Digest {
		t.Errorf("built again without a cache the digest is %s, it was %s", fresh.Digest, r.Digest)
	}
	root := pushed(t, r)
	if root.Image.Config.Config.Labels["team"] != "x" {
		t.Errorf("labels are %v", root.Image.Config.Config.Labels)
	}
	if out, err := command(t, root).Output(); err != nil || string(out) != "made by run <nil>\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
	for _, lower := range root.Lower {
		if _, err := os.Stat(filepath.Join(lower, "ignored")); err == nil {
			t.Error("the image has a file that .dockerignore names")
		}
	}
}

func TestArchives(t *testing.T) {
	s, _ := startStore(t)
	d := ocitest.Add(t, s, "team/app", "v1", ocitest.Spec{Files: map[string]string{"f": "x"}})
	var out bytes.Buffer
	if err := s.Export("team/app:v1", &out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if r := mustBuild(t, build.Request{Dir: path, CacheDir: cache}); r.Digest.String() != d.String() || r.Builder != "archive" {
		t.Errorf("the archive of %s gives %s by %s", d, r.Digest, r.Builder)
	}
	layout := t.TempDir()
	for archive := tar.NewReader(&out); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(layout, h.Name)), 0o755), os.WriteFile(filepath.Join(layout, h.Name), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if r := mustBuild(t, build.Request{Dir: layout}); r.Digest.String() != d.String() {
		t.Errorf("the layout of %s gives %s", d, r.Digest)
	}
	// A base image from a layout: what is built goes on top of it.
	dir := writeFiles(t, map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": helloGo})
	root := pushed(t, mustBuild(t, build.Request{Dir: dir, Base: "oci:" + layout}))
	find(t, root, "f")
	find(t, root, "app/hello")
}

func TestBaseFromTheDaemon(t *testing.T) {
	s, host := startStore(t)
	ocitest.Add(t, s, "bases/small", "v1", ocitest.Spec{Files: map[string]string{"f": "x"}})
	dir := writeFiles(t, map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": helloGo})
	r := mustBuild(t, build.Request{Dir: dir, Base: "bases/small:v1", Registry: host})
	if err := build.Push(t.Context(), r, host+"/app", build.PushOptions{PlainHTTP: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: "app"})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.RootFS(t.Context(), got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	find(t, root, "f")
}
