package build

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// DockerfileOptions are settings of the dockerfile builder.
type DockerfileOptions struct {
	// File is the Dockerfile, relative to the folder; empty means Dockerfile or Containerfile.
	File string
	// Target is the stage to build; empty means the last.
	Target string
	// Args are build arguments.
	Args map[string]string
	// Secrets are passed on as the tool takes them: "id=name,src=path".
	Secrets []string
	// Tool is buildah, docker, podman or buildctl; empty means the first that works.
	Tool string
}

var dockerfileNames = []string{"Dockerfile", "Containerfile"}

func detectDockerfile(dir string) (string, error) {
	for _, name := range dockerfileNames {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return name + " says how to build it", nil
		}
	}
	return "", nil
}

// dockerTool is one program that builds Dockerfiles into an OCI layout (or its archive) on this machine.
type dockerTool struct {
	name string
	// works says why the tool cannot be used although it is installed; nil when it can.
	works func(context.Context) error
	// build makes out, a folder or an archive.
	build func(ctx context.Context, j *job, file, out string) error
}

func dockerTools() []dockerTool {
	fine := func(context.Context) error { return nil }
	return []dockerTool{
		{"buildah", fine, buildWithBuildah},
		{"docker", answers("docker", "version", "--format", "{{.Server.Version}}"), buildWithDocker},
		{"podman", fine, buildWithPodman},
		{"buildctl", answers("buildctl", "debug", "workers"), buildWithBuildctl},
	}
}

func answers(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, firstLine(out))
		}
		return nil
	}
}

// findDockerTool picks the first tool that is installed and works.
func findDockerTool(ctx context.Context, want string) (dockerTool, error) {
	var names, unusable []string
	for _, t := range dockerTools() {
		names = append(names, t.name)
		if want != "" && t.name != want {
			continue
		}
		if _, err := exec.LookPath(t.name); err != nil {
			continue
		}
		if err := t.works(ctx); err != nil {
			unusable = append(unusable, fmt.Sprintf("%s: %v", t.name, err))
			continue
		}
		return t, nil
	}
	switch {
	case len(unusable) > 0:
		return dockerTool{}, fmt.Errorf("no tool for Dockerfiles works: %s", strings.Join(unusable, "; "))
	case want != "":
		return dockerTool{}, fmt.Errorf("%s is not installed, or not one of %s", want, strings.Join(names, ", "))
	}
	return dockerTool{}, fmt.Errorf("none of %s is installed: install buildah, or build the image elsewhere and name its archive", strings.Join(names, ", "))
}

func buildDockerfile(ctx context.Context, j *job) (built, error) {
	file := j.Dockerfile.File
	for _, name := range dockerfileNames {
		if file == "" && exists(j.Dir, name) {
			file = name
		}
	}
	if !exists(j.Dir, file) || file == "" {
		return built{}, fmt.Errorf("there is no %s", strings.Join(dockerfileNames, " or "))
	}
	if j.CacheDir == "" {
		temp, err := os.MkdirTemp("", "fairlead-build-")
		if err != nil {
			return built{}, err
		}
		j.CacheDir, j.NoCache = temp, true // the caller reads the image from there
	}
	tool, err := findDockerTool(ctx, j.Dockerfile.Tool)
	if err != nil {
		return built{}, err
	}
	excluded := Within(j.Dir, j.Exclude)
	for _, e := range excluded {
		j.say("run", "%s is not of the source, but %s sees it too: name it in .dockerignore", e, tool.name)
	}
	state, err := folderState(j.Dir, excluded)
	if err != nil {
		return built{}, err
	}
	key := keyOf("dockerfile", tool.name, file, j.Dockerfile, j.Platforms, j.Dir, state)
	image, cached := j.cachedImage(key)
	if cached {
		j.say("cache", "nothing has changed")
	} else if image, err = j.runDockerTool(ctx, tool, file, key); err != nil {
		return built{}, err
	}
	if len(j.Labels) > 0 {
		image, err = withLabels(image, j.Labels)
	}
	return built{image: image}, err
}

func (j *job) runDockerTool(ctx context.Context, tool dockerTool, file, key string) (v1.Image, error) {
	temp, err := j.tempDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, "image")
	j.say("run", "%s build -f %s", tool.name, file)
	if err := tool.build(ctx, j, filepath.Join(j.Dir, file), out); err != nil {
		return nil, explainPull(err, j.Registry)
	}
	if info, err := os.Stat(out); err != nil {
		return nil, fmt.Errorf("%s made no image: %w", tool.name, err)
	} else if info.Mode().IsRegular() {
		dir := filepath.Join(temp, "layout")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		if err := layoutOf(out, dir); err != nil {
			return nil, fmt.Errorf("image that %s made: %w", tool.name, err)
		}
		out = dir
	}
	return j.keepImage(key, out)
}

// folderState describes a folder, without what is excluded, by names, sizes and times, which is enough to know that nothing was touched.
func folderState(dir string, excluded []string) (string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(excluded, p) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(p, info.Mode(), info.ModTime().UnixNano())
		if !d.IsDir() {
			line += fmt.Sprint(" ", info.Size())
		}
		lines = append(lines, line)
		return nil
	})
	return keyOf(lines), err
}

func flags(name string, values []string) []string {
	var all []string
	for _, v := range values {
		all = append(all, name, v)
	}
	return all
}

// assignments writes a map as sorted key=value.
func assignments(m map[string]string) []string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return all
}

// commonFlags are those that buildah, podman and docker share.
func (j *job) commonFlags(file string) []string {
	args := []string{"--file", file, "--platform", j.Platforms[0]}
	if j.Dockerfile.Target != "" {
		args = append(args, "--target", j.Dockerfile.Target)
	}
	args = append(args, flags("--build-arg", assignments(j.Dockerfile.Args))...)
	args = append(args, flags("--secret", j.Dockerfile.Secrets)...)
	if j.NoCache {
		args = append(args, "--no-cache")
	}
	return args
}

func buildWithBuildah(ctx context.Context, j *job, file, out string) error {
	id := out + ".id"
	args := []string{"buildah", "build", "--format", "oci", "--timestamp", "0", "--layers", "--iidfile", id}
	args = append(args, runtimeFlags()...)
	plain, err := onlyLoopback(file, j.Dockerfile.Args)
	if err != nil {
		return err
	}
	if plain {
		args = append(args, "--tls-verify=false")
	}
	if _, err := j.run(ctx, j.Dir, nil, append(append(args, j.commonFlags(file)...), j.Dir)...); err != nil {
		return err
	}
	data, err := os.ReadFile(id)
	if err != nil {
		return fmt.Errorf("buildah names no image: %w", err)
	}
	_, err = j.run(ctx, j.Dir, nil, "buildah", "push", "--format", "oci", strings.TrimSpace(string(data)), "oci:"+out+":latest")
	return err
}

// runtimeFlags helps buildah and podman where their usual runtime refuses: crun does not know machines with both kinds of cgroups.
func runtimeFlags() []string {
	if os.Getenv("BUILDAH_RUNTIME") != "" || os.Getenv("BUILDAH_ISOLATION") != "" || !exists("/sys/fs/cgroup/unified") {
		return nil
	}
	if runc, err := exec.LookPath("runc"); err == nil && os.Geteuid() == 0 {
		return []string{"--runtime", runc}
	}
	return []string{"--isolation", "chroot"}
}

var fromForm = regexp.MustCompile(`(?im)^\s*FROM\s+(?:--\S+\s+)*(\S+)`)

var argForm = regexp.MustCompile(`(?im)^\s*ARG\s+(\w+)=(\S+)`)

// onlyLoopback says whether all base images are on this machine's own registries, which have no TLS. Arguments in their
// names stand for what was given, else for their defaults.
func onlyLoopback(file string, given map[string]string) (bool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	arguments := map[string]string{}
	for _, m := range argForm.FindAllStringSubmatch(string(data), -1) {
		arguments[m[1]] = m[2]
	}
	maps.Copy(arguments, given)
	found := false
	for _, m := range fromForm.FindAllStringSubmatch(string(data), -1) {
		switch base := os.Expand(m[1], func(name string) string { return arguments[name] }); {
		case strings.HasPrefix(base, "127.0.0.1:"), strings.HasPrefix(base, "localhost:"):
			found = true
		case base != "scratch" && strings.ContainsAny(base, "./:"):
			return false, nil
		}
	}
	return found, nil
}

func buildWithPodman(ctx context.Context, j *job, file, out string) error {
	id := out + ".id"
	args := []string{"podman"}
	runtime := runtimeFlags()
	if len(runtime) > 0 && runtime[0] == "--runtime" {
		args, runtime = append(args, runtime...), nil // podman has it before the command
	}
	args = append(append(args, "build", "--format", "oci", "--timestamp", "0", "--layers", "--iidfile", id), runtime...)
	plain, err := onlyLoopback(file, j.Dockerfile.Args)
	if err != nil {
		return err
	}
	if plain {
		args = append(args, "--tls-verify=false")
	}
	if _, err := j.run(ctx, j.Dir, nil, append(append(args, j.commonFlags(file)...), j.Dir)...); err != nil {
		return err
	}
	data, err := os.ReadFile(id)
	if err != nil {
		return fmt.Errorf("podman names no image: %w", err)
	}
	_, err = j.run(ctx, j.Dir, nil, "podman", "save", "--format", "oci-archive", "--output", out, strings.TrimSpace(string(data)))
	return err
}

func buildWithBuildctl(ctx context.Context, j *job, file, out string) error {
	args := []string{"buildctl", "build", "--frontend", "dockerfile.v0", "--local", "context=" + j.Dir, "--local", "dockerfile=" + filepath.Dir(file),
		"--opt", "filename=" + filepath.Base(file), "--opt", "platform=" + j.Platforms[0], "--opt", "build-arg:SOURCE_DATE_EPOCH=0",
		"--output", "type=oci,rewrite-timestamp=true,dest=" + out}
	if j.Dockerfile.Target != "" {
		args = append(args, "--opt", "target="+j.Dockerfile.Target)
	}
	for _, a := range assignments(j.Dockerfile.Args) {
		args = append(args, "--opt", "build-arg:"+a)
	}
	args = append(args, flags("--secret", j.Dockerfile.Secrets)...)
	if j.NoCache {
		args = append(args, "--no-cache")
	}
	_, err := j.run(ctx, j.Dir, nil, args...)
	return err
}

// withLabels adds labels to a finished image.
func withLabels(image v1.Image, labels map[string]string) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	(&imageSpec{base: image}).configure(file, labels)
	return mutate.ConfigFile(image, file)
}
