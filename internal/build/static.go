package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/fairlead-dev/fairlead/internal/build/webserver"
)

// StaticOptions are settings of the static builder.
type StaticOptions struct {
	// Server is a static program that has webserver.Main behind the argument ServerArg; empty means the running program.
	// It is used where the go command is not installed to compile a smaller one.
	Server string
}

// ServerArg is the hidden first argument with which the fairlead program itself serves a folder of static files:
// its main calls webserver.Main with what follows.
const ServerArg = "fairlead-web-server"

// siteFolders are where the pages may be, in the order of looking.
var siteFolders = []string{".", "public", "dist", "build", "_site", "site", "www"}

// findSite gives the folder below dir that has an index.html.
func findSite(dir string) string {
	for _, sub := range siteFolders {
		if exists(dir, sub, "index.html") {
			return filepath.Join(dir, sub)
		}
	}
	return ""
}

func detectStatic(dir string) (string, error) {
	site := findSite(dir)
	if site == "" {
		return "", nil
	}
	rel, err := filepath.Rel(dir, filepath.Join(site, "index.html"))
	return rel + " makes it a folder of static files", err
}

func buildStatic(ctx context.Context, j *job) (built, error) {
	site := findSite(j.Dir)
	if site == "" {
		return built{}, errors.New("there is no index.html")
	}
	goos, arch := j.platform()
	server, args, err := j.webServer(ctx, goos, arch)
	if err != nil {
		return built{}, err
	}
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{Entrypoint: append([]string{"/usr/bin/web-server"}, args...), Cmd: []string{"/srv"}}}
	if err := spec.add(j, []layerFile{{target: "usr", dir: true}, {target: "usr/bin", dir: true}, {target: "usr/bin/web-server", source: server, mode: 0o755}}); err != nil {
		return built{}, err
	}
	files, err := j.sourceFiles(site, "srv", func(rel string, d fs.DirEntry) bool {
		return skipUsual(rel, d) || strings.HasPrefix(d.Name(), ".") && rel != ".well-known"
	})
	if err != nil {
		return built{}, err
	}
	if err := spec.add(j, files); err != nil {
		return built{}, err
	}
	image, err := spec.image(ctx, j)
	return built{image: image}, err
}

// webServer gives the program that serves the files: compiled from our own source where there is a go command, which
// is 5 MB and starts in a few milliseconds; else the whole of fairlead, which can do it too.
func (j *job) webServer(ctx context.Context, goos, arch string) (program string, args []string, err error) {
	if _, err := exec.LookPath("go"); err == nil && j.CacheDir != "" {
		program, err := j.compileWebServer(ctx, goos, arch)
		return program, nil, err
	}
	program = j.Static.Server
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return "", nil, err
		}
	}
	if _, f, err := findBinary(program); err != nil || f == nil {
		return "", nil, fmt.Errorf("%s is not a program: %w", program, err)
	} else if f.Close(); machines[f.Machine] != arch {
		return "", nil, fmt.Errorf("%s is for %s, not for %s: install Go to compile the web server", program, f.Machine, arch)
	}
	j.say("compile", "no go command here: the image gets all of fairlead as its web server")
	return program, []string{ServerArg}, nil
}

func (j *job) compileWebServer(ctx context.Context, goos, arch string) (string, error) {
	sources := webserver.Source()
	out, err := j.run(ctx, os.TempDir(), []string{"GOTOOLCHAIN=local"}, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(j.CacheDir, "bin", "web-"+keyOf(sources, string(out), goos, arch)[:32])
	program := filepath.Join(dir, "web-server")
	if exists(program) {
		return program, nil
	}
	j.say("compile", "web server for %s/%s", goos, arch)
	temp, err := j.tempDir()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	for name, content := range sources {
		path := filepath.Join(temp, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			return "", err
		}
	}
	env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + arch, "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local"}
	if _, err := j.run(ctx, temp, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "web-server", "."); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return program, os.Rename(filepath.Join(temp, "web-server"), program)
}
