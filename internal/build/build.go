package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is an operating system and architecture, as Go names them: "linux/amd64".
type Platform = string

// Request says what to build.
type Request struct {
	// Dir is the folder with the source. It may also name a single program, or an image archive.
	Dir string
	// Builder names the builder to use; empty chooses by what the folder has.
	Builder string
	// Platforms to build for; empty means this machine's. More than one gives an index; only the go builder can.
	Platforms []Platform
	// Base is the image to build on, for the go, node and python builders: a reference, "oci:<folder>", or "host" for
	// the interpreter of this machine. Empty means the builder's own.
	Base string
	// Registry is the registry of the daemon (host:port, plain HTTP), where base images are looked for first.
	Registry string
	// RegistryToken is that registry's token, if it asks for one.
	RegistryToken string
	// CacheDir keeps what makes the next build fast; empty means no cache.
	CacheDir string
	// NoCache builds again what could be taken from the cache.
	NoCache bool
	// Exclude are files and folders that are no source, wherever they are.
	Exclude []string
	// Labels are added to the image's configuration.
	Labels map[string]string
	// Go, Dockerfile and Static hold settings of these builders.
	Go         GoOptions
	Dockerfile DockerfileOptions
	Static     StaticOptions
	// Progress is told what happens, line by line. It may be nil.
	Progress func(Event)
}

// Event is one step of a build, for people to read.
type Event struct {
	Step string // "choose", "base", "compile", "install", "run", "cache"
	Text string
}

// Result is a built image.
type Result struct {
	// Image is set when one platform was built, Index otherwise.
	Image v1.Image
	Index v1.ImageIndex
	// Digest of Image or Index.
	Digest v1.Hash
	// Builder that was used, and why.
	Builder, Why string
	// SBOM is the list of what is inside, an SPDX 2.3 document in JSON; nil when the builder does not know.
	SBOM []byte
}

// Choice says that a builder fits a folder.
type Choice struct {
	Builder string `json:"builder"`
	Why     string `json:"why"`
}

// builder is one way to make an image.
type builder struct {
	name string
	// detect says why the builder fits the folder; empty when it does not.
	detect func(dir string) (why string, err error)
	build  func(context.Context, *job) (built, error)
}

// built is what a builder gives: one image, or one for each platform, and the packages that went in.
type built struct {
	image    v1.Image
	index    v1.ImageIndex
	packages []sbomPackage
}

// job is a request on its way through a builder.
type job struct {
	Request
}

func (j *job) say(step, format string, args ...any) {
	if j.Progress != nil {
		j.Progress(Event{Step: step, Text: fmt.Sprintf(format, args...)})
	}
}

// builders in the order in which they are tried: what says most about how to build comes first.
func builders() []builder {
	return []builder{
		{"archive", detectArchive, buildArchive},
		{"dockerfile", detectDockerfile, buildDockerfile},
		{"procfile", detectProcfile, buildProcfile},
		{"go", detectGo, buildGo},
		{"node", detectNode, buildNode},
		{"python", detectPython, buildPython},
		{"binary", detectBinary, buildBinary},
		{"static", detectStatic, buildStatic},
	}
}

// Builders lists the names of all builders.
func Builders() []string {
	var names []string
	for _, b := range builders() {
		names = append(names, b.name)
	}
	return names
}

// Explain lists the builders that fit a folder; Build uses the first.
func Explain(dir string) ([]Choice, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	var choices []Choice
	for _, b := range builders() {
		why, err := b.detect(dir)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", dir, err)
		}
		if why != "" {
			choices = append(choices, Choice{b.name, why})
		}
	}
	return choices, nil
}

// Build makes an image of the folder.
func Build(ctx context.Context, q Request) (Result, error) {
	dir, err := filepath.Abs(q.Dir)
	if err != nil {
		return Result{}, fmt.Errorf("build: %w", err)
	}
	q.Dir = dir
	if len(q.Platforms) == 0 {
		q.Platforms = []Platform{"linux/" + runtime.GOARCH}
	}
	chosen, why, err := choose(q)
	if err == nil {
		err = checkOptions(q, chosen.name, why)
	}
	if err != nil {
		return Result{}, err
	}
	if len(q.Platforms) > 1 && chosen.name != "go" {
		return Result{}, fmt.Errorf("build %s: the %s builder makes one platform at a time, not %s", q.Dir, chosen.name, strings.Join(q.Platforms, ", "))
	}
	j := &job{Request: q}
	j.say("choose", "%s: %s", chosen.name, why)
	out, err := chosen.build(ctx, j)
	if err != nil {
		return Result{}, fmt.Errorf("build %s with %s: %w", q.Dir, chosen.name, err)
	}
	result := Result{Image: out.image, Index: out.index, Builder: chosen.name, Why: why}
	if result.Image != nil {
		result.Digest, err = result.Image.Digest()
	} else {
		result.Digest, err = result.Index.Digest()
	}
	if err == nil && len(out.packages) > 0 {
		result.SBOM, err = spdx(filepath.Base(q.Dir), result.Digest, out.packages)
	}
	if err == nil && q.CacheDir != "" {
		err = trimCache(q.CacheDir, time.Now())
	}
	return result, err
}

// ErrNoBuilder is returned when nothing in the folder says how to build it.
var ErrNoBuilder = errors.New("nothing here that can be built")

func choose(q Request) (builder, string, error) {
	all := builders()
	if q.Builder != "" {
		i := slices.IndexFunc(all, func(b builder) bool { return b.name == q.Builder })
		if i < 0 {
			return builder{}, "", &OptionError{fmt.Sprintf("no builder is called %q", q.Builder), "--builder " + strings.Join(Builders(), ", or ")}
		}
		return all[i], "asked for", nil
	}
	choices, err := Explain(q.Dir)
	if err != nil {
		return builder{}, "", err
	}
	if len(choices) == 0 {
		return builder{}, "", fmt.Errorf("build %s: %w: no Dockerfile, Procfile, Go main package, package.json, requirements.txt, pyproject.toml, static program or index.html", q.Dir, ErrNoBuilder)
	}
	i := slices.IndexFunc(all, func(b builder) bool { return b.name == choices[0].Builder })
	return all[i], choices[0].Why, nil
}

func exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}
