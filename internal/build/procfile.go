package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

var procfileForm = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.+)$`)

// readProcfile gives the command of the web process.
func readProcfile(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "Procfile"))
	if err != nil {
		return "", err
	}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := procfileForm.FindStringSubmatch(line)
		if m == nil {
			return "", fmt.Errorf("Procfile, line %d: %q is not <process>: <command>", i+1, line)
		}
		if m[1] == "web" {
			return m[2], nil
		}
	}
	return "", errors.New("Procfile has no web process: add a line \"web: <command>\"")
}

func detectProcfile(dir string) (string, error) {
	if !exists(dir, "Procfile") {
		return "", nil
	}
	command, err := readProcfile(dir)
	if err != nil {
		return "", err
	}
	return "Procfile starts " + command, nil
}

// buildProcfile builds what the folder is otherwise, and starts it as the Procfile says.
func buildProcfile(ctx context.Context, j *job) (built, error) {
	command, err := readProcfile(j.Dir)
	if err != nil {
		return built{}, err
	}
	start := splitCommand(command)
	for _, kind := range []string{"go", "node", "python"} {
		i := 0
		for builders()[i].name != kind {
			i++
		}
		why, err := builders()[i].detect(j.Dir)
		if err != nil {
			return built{}, err
		}
		if why == "" && !(kind == "node" && exists(j.Dir, "package.json")) {
			continue
		}
		j.say("choose", "Procfile on top of %s", kind)
		switch kind {
		case "node":
			p, err := readPackageJSON(j.Dir)
			if err != nil {
				return built{}, err
			}
			return j.nodeImage(ctx, p, start)
		case "python":
			p, err := j.pythonProject(ctx)
			if err != nil {
				return built{}, err
			}
			return j.pythonImage(ctx, p, start)
		}
		out, err := buildGo(ctx, j)
		if err != nil || out.image == nil {
			return out, errors.Join(err, onlyOnePlatform(out))
		}
		out.image, err = withArguments(out.image, start)
		return out, err
	}
	if j.Base == "" {
		return built{}, errors.New("the Procfile's language is not one that is known here: name a base image to run it on with --base, or write a Dockerfile")
	}
	return j.procfileOnBase(ctx, command)
}

func onlyOnePlatform(out built) error {
	if out.index != nil {
		return errors.New("a Procfile is built for one platform at a time")
	}
	return nil
}

// withArguments starts a Go program with the arguments of a Procfile; its first word must be that program.
func withArguments(image v1.Image, start []string) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	program := file.Config.Entrypoint[0]
	if path.Base(start[0]) != path.Base(program) {
		return nil, fmt.Errorf("the Procfile starts %q, but the program is %q (there is no shell in its image): write \"web: %s <arguments>\"", strings.Join(start, " "), path.Base(program), path.Base(program))
	}
	file = file.DeepCopy()
	file.Config.Cmd = start[1:]
	return mutate.ConfigFile(image, file)
}

// procfileOnBase puts the folder on a base image that has a shell.
func (j *job) procfileOnBase(ctx context.Context, command string) (built, error) {
	goos, arch := j.platform()
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{WorkingDir: "/app", Entrypoint: []string{"sh", "-c", command}}}
	files, err := j.sourceFiles(j.Dir, "app", skipUsual)
	if err != nil {
		return built{}, err
	}
	if err := spec.add(j, files); err != nil {
		return built{}, err
	}
	image, err := spec.image(ctx, j)
	return built{image: image}, err
}
