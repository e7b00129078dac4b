package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// GoOptions are settings of the go builder.
type GoOptions struct {
	// Package is the main package, relative to the folder ("./cmd/server"); empty looks for the only one.
	Package string
	// Ldflags are added to "-s -w".
	Ldflags []string
	// Flags are further flags of go build, such as "-tags=x".
	Flags []string
	// Env is added to the environment of go build.
	Env []string
}

func detectGo(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return "go.mod is a Go module", nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return "", err
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(strings.Split(string(data), "\n"), func(l string) bool { return strings.TrimSpace(l) == "package main" }) {
			return filepath.Base(f) + " is a Go main package", nil
		}
	}
	return "", nil
}

// goPackage is what go list says of a main package.
type goPackage struct {
	Dir        string
	ImportPath string
	Name       string
}

func (j *job) goList(ctx context.Context, pattern string) ([]goPackage, error) {
	out, err := j.run(ctx, j.Dir, nil, "go", "list", "-e", "-json=Dir,ImportPath,Name", pattern)
	if err != nil {
		return nil, err
	}
	var found []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what go list prints: %w", err)
		}
		if p.Name == "main" {
			found = append(found, p)
		}
	}
}

// mainPackage finds the one package to build.
func (j *job) mainPackage(ctx context.Context) (goPackage, error) {
	found, err := j.goList(ctx, packagePattern(j.Dir, j.Go.Package))
	if err != nil {
		return goPackage{}, err
	}
	if len(found) == 0 && j.Go.Package == "" {
		if found, err = j.goList(ctx, "./..."); err != nil {
			return goPackage{}, err
		}
	}
	switch len(found) {
	case 0:
		if j.Go.Package != "" {
			return goPackage{}, &OptionError{j.Go.Package + " is no main package", "go list -f '{{.Name}} {{.ImportPath}}' ./... shows the packages; name one whose name is main"}
		}
		return goPackage{}, &OptionError{"there is no main package in it", "the folder of one"}
	case 1:
		return found[0], nil
	}
	var names []string
	for _, p := range found {
		// The program that a module is named after is the one that is meant; others stand beside it.
		if module := j.moduleName(ctx); module != "" && path.Base(p.ImportPath) == module && j.Go.Package == "" {
			return p, nil
		}
		rel, err := filepath.Rel(j.Dir, p.Dir)
		if err != nil {
			rel = p.Dir
		}
		names = append(names, "./"+rel)
	}
	return goPackage{}, &OptionError{
		fmt.Sprintf("there are %d main packages: %s", len(names), strings.Join(names, ", ")), "--package " + strings.Join(names, ", or "),
	}
}

// moduleName is the last element of the module's path that is not a major version: "app" of example.com/app/v2.
func (j *job) moduleName(ctx context.Context) string {
	out, err := j.run(ctx, j.Dir, nil, "go", "list", "-m")
	if err != nil {
		return "" // without a module there is no name to go by
	}
	return path.Base(majorVersion.ReplaceAllString(strings.TrimSpace(string(out)), ""))
}

var majorVersion = regexp.MustCompile(`[/.]v[0-9]+$`)

func buildGo(ctx context.Context, j *job) (built, error) {
	pkg, err := j.mainPackage(ctx)
	if err != nil {
		return built{}, err
	}
	var out built
	var images []v1.Image
	for _, p := range j.Platforms {
		image, packages, err := j.goImage(ctx, pkg, p)
		if err != nil {
			return built{}, err
		}
		images, out.packages = append(images, image), packages
	}
	if len(images) == 1 {
		out.image = images[0]
		return out, nil
	}
	out.index = mutate.IndexMediaType(v1.ImageIndex(empty.Index), types.OCIImageIndex)
	for i, image := range images {
		goos, arch, _ := strings.Cut(j.Platforms[i], "/")
		out.index = mutate.AppendManifests(out.index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: goos, Architecture: arch}},
		})
	}
	return out, nil
}

func (j *job) goImage(ctx context.Context, pkg goPackage, platform Platform) (v1.Image, []sbomPackage, error) {
	goos, arch, ok := strings.Cut(platform, "/")
	if !ok || goos != "linux" || arch == "" {
		return nil, nil, fmt.Errorf("platform %q: use linux/<architecture>", platform)
	}
	program, done, err := j.compile(ctx, pkg, goos, arch)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	name := path.Base(pkg.ImportPath)
	if name == "command-line-arguments" || name == "." {
		name = filepath.Base(pkg.Dir)
	}
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{Entrypoint: []string{"/app/" + name}}}
	if err := spec.add(j, []layerFile{{target: "app", dir: true}, {target: "app/" + name, source: program, mode: 0o755}}); err != nil {
		return nil, nil, err
	}
	if data := filepath.Join(pkg.Dir, "kodata"); exists(data) {
		files, err := folderFiles(data, kodataPath, nil)
		if err != nil {
			return nil, nil, err
		}
		if err := spec.add(j, files); err != nil {
			return nil, nil, err
		}
		spec.config.Env = append(spec.config.Env, "KO_DATA_PATH=/"+kodataPath)
	}
	packages, err := goPackages(program)
	if err != nil {
		return nil, nil, err
	}
	image, err := spec.image(ctx, j)
	return image, packages, err
}

// compile builds the program and gives its path. With a cache the file stays where it was, so that the go command finds
// it up to date and does not link again.
func (j *job) compile(ctx context.Context, pkg goPackage, goos, arch string) (string, func(), error) {
	args := []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(append([]string{"-s", "-w"}, j.Go.Ldflags...), " ")}
	args = append(args, j.Go.Flags...)
	env := append([]string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + arch}, j.Go.Env...)
	var dir string
	var err error
	done := func() {}
	if j.CacheDir != "" {
		dir = filepath.Join(j.CacheDir, "bin", keyOf(pkg.Dir, args, env)[:32])
		err = os.MkdirAll(dir, 0o700)
	} else if dir, err = os.MkdirTemp("", "fairlead-build-"); err == nil {
		done = func() { os.RemoveAll(dir) }
	}
	if err != nil {
		return "", nil, fmt.Errorf("build cache: %w", err)
	}
	program := filepath.Join(dir, "program")
	j.say("compile", "go build %s for %s/%s", pkg.ImportPath, goos, arch)
	if _, err := j.run(ctx, j.Dir, env, append(args, "-o", program, pkg.Dir)...); err != nil {
		done()
		return "", nil, err
	}
	return program, done, nil
}

const kodataPath = "var/run/ko"
