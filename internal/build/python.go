package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	pythonBase     = "docker.io/library/python:3.13-slim"
	pythonPackages = "opt/python"
)

func detectPython(dir string) (string, error) {
	for _, name := range []string{"requirements.txt", "pyproject.toml"} {
		if exists(dir, name) {
			return name + " is of a Python program", nil
		}
	}
	return "", nil
}

// pythonProject is what matters here of a pyproject.toml.
type pythonProject struct {
	Dependencies []string
	Scripts      map[string]string
}

func (j *job) pythonProject(ctx context.Context) (pythonProject, error) {
	var p pythonProject
	if !exists(j.Dir, "pyproject.toml") {
		return p, nil
	}
	out, err := j.run(ctx, j.Dir, nil, "python3", "-c", `import json, tomllib; print(json.dumps(tomllib.load(open("pyproject.toml", "rb")).get("project", {})))`)
	if err != nil {
		return p, fmt.Errorf("pyproject.toml: %w", err)
	}
	if err := json.Unmarshal(out, &p); err != nil {
		return p, fmt.Errorf("pyproject.toml: %w", err)
	}
	return p, nil
}

func buildPython(ctx context.Context, j *job) (built, error) {
	p, err := j.pythonProject(ctx)
	if err != nil {
		return built{}, err
	}
	for _, name := range []string{"main.py", "app.py", "server.py"} {
		if exists(j.Dir, name) {
			return j.pythonImage(ctx, p, []string{"python3", name})
		}
	}
	for _, target := range p.Scripts {
		if len(p.Scripts) == 1 {
			return j.pythonImage(ctx, p, callPython(target))
		}
	}
	return built{}, errors.New("it is not clear what to start: add main.py, or a Procfile with the line \"web: python3 <file>\"")
}

// callPython starts what "module:function" names, as the script pip would have made does.
func callPython(target string) []string {
	module, function, _ := strings.Cut(target, ":")
	object, _, _ := strings.Cut(function, ".")
	return []string{"python3", "-c", fmt.Sprintf("import sys; from %s import %s; sys.exit(%s())", module, object, function)}
}

func (j *job) pythonImage(ctx context.Context, p pythonProject, start []string) (built, error) {
	goos, arch := j.platform()
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{WorkingDir: "/app", User: "65532:65532"}}
	fromHost, err := j.useBase(ctx, &spec, pythonBase, j.hostPython)
	if err != nil {
		return built{}, err
	}
	search := "/" + pythonPackages
	if exists(j.Dir, "src") {
		search += ":/app/src"
	}
	spec.config.Env = append(spec.config.Env, "PYTHONPATH="+search, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
	installed, err := j.pipLayer(ctx, p, &spec, fromHost)
	if err != nil {
		return built{}, err
	}
	var packages []sbomPackage
	if installed != nil {
		spec.layers = append(spec.layers, installed)
		scripts := map[string]string{}
		if packages, scripts, err = readDistributions(installed); err != nil {
			return built{}, err
		}
		if target := scripts[start[0]]; target != "" {
			start = append(callPython(target), start[1:]...)
		}
	}
	files, err := j.sourceFiles(j.Dir, "app", skipUsual)
	if err != nil {
		return built{}, err
	}
	if err := spec.add(j, files); err != nil {
		return built{}, err
	}
	spec.config.Entrypoint = start
	image, err := spec.image(ctx, j)
	return built{image: image, packages: packages}, err
}

// requirements are the arguments by which pip is told what to install, and what they stand for; none where nothing is needed.
func (j *job) requirements(p pythonProject) (args []string, text string, err error) {
	if !exists(j.Dir, "requirements.txt") {
		return p.Dependencies, strings.Join(p.Dependencies, "\n"), nil
	}
	data, err := os.ReadFile(filepath.Join(j.Dir, "requirements.txt"))
	if err != nil {
		return nil, "", err
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return []string{"-r", "requirements.txt"}, string(data), nil
		}
	}
	return nil, "", nil
}

// pipLayer installs the requirements into a layer; nil when there are none. For a base image, wheels for its Python are
// fetched without running anything of it.
func (j *job) pipLayer(ctx context.Context, p pythonProject, spec *imageSpec, fromHost bool) (*layer, error) {
	wanted, text, err := j.requirements(p)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	args := []string{"python3", "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"}
	args = append(args, wanted...)
	if !fromHost {
		version, err := pythonVersion(spec.base)
		if err != nil {
			return nil, err
		}
		machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[spec.arch]
		args = append(args, "--only-binary=:all:", "--implementation=cp", "--python-version="+version,
			"--platform=manylinux2014_"+machine, "--platform=manylinux_2_28_"+machine, "--platform=any")
	}
	python, err := findProgram("python3")
	if err != nil {
		return nil, fmt.Errorf("python3 is not installed: install it, or give a Dockerfile: %w", err)
	}
	return j.cachedLayer(keyOf("pip", stamp(python), args, text), func() ([]layerFile, func(), error) {
		temp, err := os.MkdirTemp("", "fairlead-pip-")
		if err != nil {
			return nil, nil, err
		}
		done := func() { os.RemoveAll(temp) }
		j.say("install", "pip install")
		if err = j.pip(ctx, text, append(args, "--target="+temp)); err == nil {
			var files []layerFile
			// The programs in bin name this machine's interpreter.
			files, err = folderFiles(temp, pythonPackages, func(rel string, d fs.DirEntry) bool { return rel == "bin" || skipUsual(rel, d) })
			if err == nil {
				return files, done, nil
			}
		}
		done()
		return nil, nil, err
	})
}

// pip installs. Where the user has named a folder of wheels and every requirement says its version, these are looked for without the
// network first; and a network that is not there is not tried for long, unless the user says how long.
func (j *job) pip(ctx context.Context, requirements string, args []string) error {
	if (os.Getenv("PIP_FIND_LINKS") != "" || strings.Contains(requirements, "--find-links")) && allPinned(requirements) {
		if _, err := j.run(ctx, j.Dir, nil, append(args, "--no-index")...); err == nil || ctx.Err() != nil {
			return err
		}
	}
	_, err := j.run(ctx, j.Dir, unlessSet([][2]string{{"PIP_RETRIES", "1"}}), args...)
	return explainNetwork(err, "a network, or, where there is one, python3 -m pip wheel -w FOLDER -r requirements.txt, and then PIP_FIND_LINKS=FOLDER here")
}

// allPinned says whether every requirement names one version.
func allPinned(requirements string) bool {
	for line := range strings.Lines(requirements) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "-") && !strings.Contains(line, "==") {
			return false
		}
	}
	return true
}

// pythonVersion reads which Python a base image has from the variable that Python images set.
func pythonVersion(base v1.Image) (string, error) {
	file, err := base.ConfigFile()
	if err != nil {
		return "", err
	}
	for _, e := range file.Config.Env {
		if version, ok := strings.CutPrefix(e, "PYTHON_VERSION="); ok {
			parts := strings.SplitN(version, ".", 3)
			if len(parts) >= 2 {
				return parts[0] + "." + parts[1], nil
			}
		}
	}
	return "", errors.New("the base image does not say its PYTHON_VERSION: use one that does, or a Dockerfile")
}

// hostPython makes a base of this machine's Python: the interpreter, its standard library, and what these load.
func (j *job) hostPython(ctx context.Context, spec *imageSpec) error {
	out, err := j.run(ctx, j.Dir, nil, "python3", "-c", `import json, sys, sysconfig; print(json.dumps([sys.executable, sysconfig.get_paths()["stdlib"], "%d.%d" % sys.version_info[:2]]))`)
	if err != nil {
		return err
	}
	var said []string
	if err := json.Unmarshal(out, &said); err != nil || len(said) != 3 {
		return fmt.Errorf("python3 does not say where it is: %s", firstLine(out))
	}
	program, err := filepath.EvalSymlinks(said[0])
	if err != nil {
		return err
	}
	library := "usr/local/lib/python" + said[2]
	base, err := j.cachedLayer(keyOf("host python", stamp(program), stamp(said[1])), func() ([]layerFile, func(), error) {
		h := newHostProgram()
		h.addFile(program, "usr/local/bin/python3", 0o755)
		h.put(layerFile{target: "usr/local/bin/python", link: "python3"})
		if err := h.addFolder(said[1], library, skipPythonLibrary); err != nil {
			return nil, nil, err
		}
		err := errors.Join(h.addLibraries(ctx, program), h.addShell(ctx))
		modules, globErr := filepath.Glob(filepath.Join(said[1], "lib-dynload", "*.so"))
		err = errors.Join(err, globErr)
		for _, m := range modules {
			err = errors.Join(err, h.addLibraries(ctx, m))
		}
		h.relocate()
		return h.list(), func() {}, err
	})
	if err != nil {
		return err
	}
	spec.layers = append(spec.layers, base)
	spec.config.Env = append(spec.config.Env, "PYTHONHOME=/usr/local", "LD_LIBRARY_PATH=/usr/local/lib")
	return nil
}

// relocate moves libraries out of home folders, which the image's user may not enter.
func (h *hostProgram) relocate() {
	for target, f := range h.files {
		if strings.HasPrefix(target, "root/") || strings.HasPrefix(target, "home/") || target == "root" || target == "home" {
			delete(h.files, target)
			if !f.dir {
				f.target = "usr/local/lib/" + path.Base(target)
				h.files[f.target] = f
			}
		}
	}
}

func skipPythonLibrary(rel string, d fs.DirEntry) bool {
	switch rel {
	case "test", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo":
		return true
	}
	return d.Name() == "__pycache__" || strings.HasPrefix(rel, "config-") || strings.HasSuffix(rel, "/test") || strings.HasSuffix(rel, "/tests")
}

var distributionForm = regexp.MustCompile(`^` + pythonPackages + `/([^/]+)\.dist-info/(METADATA|entry_points\.txt)$`)

// readDistributions reads names, versions and console scripts of what pip installed.
func readDistributions(l *layer) ([]sbomPackage, map[string]string, error) {
	var packages []sbomPackage
	scripts := map[string]string{}
	err := l.eachFile(distributionForm, func(match []string, content string) {
		if match[2] == "METADATA" {
			packages = append(packages, pythonDistribution(content))
			return
		}
		_, section, _ := strings.Cut(content, "[console_scripts]")
		section, _, _ = strings.Cut(section, "\n[")
		for line := range strings.SplitSeq(section, "\n") {
			if name, target, ok := strings.Cut(line, "="); ok {
				scripts[strings.TrimSpace(name)] = strings.TrimSpace(target)
			}
		}
	})
	return packages, scripts, err
}

func pythonDistribution(metadata string) sbomPackage {
	var p sbomPackage
	for line := range strings.SplitSeq(metadata, "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			break // the headers end at the first empty line
		}
		switch key {
		case "Name":
			p.name = value
		case "Version":
			p.version = value
		case "License-Expression":
			p.licence = value
		}
	}
	p.purl = "pkg:pypi/" + strings.ToLower(strings.ReplaceAll(p.name, "_", "-")) + "@" + p.version
	return p
}
