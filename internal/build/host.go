package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// hostProgram is a program of this machine on its way into an image, with the libraries it loads.
type hostProgram struct {
	files map[string]layerFile // by target
}

func newHostProgram() *hostProgram { return &hostProgram{files: map[string]layerFile{}} }

func (h *hostProgram) put(f layerFile) {
	for _, parent := range parents(path.Dir(f.target)) {
		if _, ok := h.files[parent]; !ok {
			h.files[parent] = layerFile{target: parent, dir: true}
		}
	}
	h.files[f.target] = f
}

// addFile takes a file along, under target, or under its own path when target is empty.
func (h *hostProgram) addFile(source, target string, mode int64) {
	if target == "" {
		target = strings.TrimPrefix(source, "/")
	}
	h.put(layerFile{target: target, source: source, mode: mode})
}

// addLibraries takes along what the loader of this machine finds for a program or library.
func (h *hostProgram) addLibraries(ctx context.Context, program string) error {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) || bytes.Contains(out, []byte("statically linked")) {
			return nil
		}
		return fmt.Errorf("libraries of %s: ldd: %w: %s", program, err, firstLine(out))
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		fields := strings.Fields(line)
		i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "/") })
		switch {
		case strings.Contains(line, "not found"):
			return fmt.Errorf("libraries of %s: %s", program, strings.TrimSpace(line))
		case i >= 0:
			h.addFile(fields[i], "", 0o755) // the file a link points to, under the name it is loaded by
		}
	}
	return nil
}

// addShell takes a shell along, for start commands that need one.
func (h *hostProgram) addShell(ctx context.Context) error {
	shell, err := findProgram("sh")
	if err != nil {
		return err
	}
	h.addFile(shell, "bin/sh", 0o755)
	return h.addLibraries(ctx, shell)
}

// addFolder takes a folder along; skip leaves entries out.
func (h *hostProgram) addFolder(dir, target string, skip func(rel string, d fs.DirEntry) bool) error {
	files, err := folderFiles(dir, target, skip)
	if err != nil {
		return err
	}
	for _, f := range files {
		h.put(f)
	}
	return nil
}

// list gives all files in the order of their paths, parents first.
func (h *hostProgram) list() []layerFile {
	var all []layerFile
	for _, f := range h.files {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b layerFile) int { return strings.Compare(a.target, b.target) })
	return all
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}

// findProgram gives the real path of a program of this machine.
func findProgram(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(found)
}

// stamp tells one state of a file from another, for cache keys.
func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return "none"
	}
	return fmt.Sprint(file, info.Size(), info.ModTime().UnixNano())
}

// useBase sets the base of an interpreted program: what was asked for, else the usual image, else, when that cannot be
// had and this machine has the interpreter, a layer made of it. It says which.
func (j *job) useBase(ctx context.Context, spec *imageSpec, usual string, host func(context.Context, *imageSpec) error) (fromHost bool, err error) {
	base := j.Base
	if base == "" {
		base = usual
	}
	if base != hostBase {
		spec.base, err = j.baseImage(ctx, base, j.Platforms[0])
		if err == nil {
			j.say("base", "%s", base)
			return false, nil
		}
		if j.Base != "" || ctx.Err() != nil {
			return false, err
		}
		j.say("base", "%s cannot be had, so this machine's own interpreter is used: not the same on every machine (--base chooses another)", usual)
	}
	if hostErr := host(ctx, spec); hostErr != nil {
		return false, errors.Join(err, hostErr)
	}
	return true, nil
}

// run runs a tool of the user with the user's rights; what it printed is in the error.
func (j *job) run(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%s is not installed: install it, or give a Dockerfile", args[0])
		}
		text := bytes.TrimSpace(append(stderr.Bytes(), stdout.Bytes()...))
		const keep = 4000
		if len(text) > keep {
			text = text[len(text)-keep:]
		}
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args[:min(2, len(args))], " "), err, text)
	}
	return stdout.Bytes(), nil
}
