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

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is an operating system and architecture, as Go names them: "linux/amd64".
type Platform = string

// Request says what to build.
type Request struct {
	// Dir is the folder with the source. For the static builder it may also name a single program.
	Dir string
	// Builder names the builder to use; empty chooses by what the folder has.
	Builder string
	// Platforms to build for; empty means this machine's. More than one gives an index; only the go builder can.
	Platforms []Platform
	// CacheDir keeps what makes the next build fast; empty means no cache.
	CacheDir string
	// Labels are added to the image's configuration.
	Labels map[string]string
	// Go holds settings of the go builder.
	Go GoOptions
	// Progress is told what happens, line by line. It may be nil.
	Progress func(Event)
}

// Event is one step of a build, for people to read.
type Event struct {
	Step string // "choose", "compile", "layers", "push" ...
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
}

// Choice says that a builder fits a folder.
type Choice struct {
	Builder string
	Why     string
}

// builder is one way to make an image.
type builder struct {
	name string
	// detect says why the builder fits the folder; empty when it does not.
	detect func(dir string) (why string, err error)
	build  func(context.Context, *job) (Result, error)
}

// job is a request on its way through a builder.
type job struct {
	Request
	why string
}

func (j *job) say(step, format string, args ...any) {
	if j.Progress != nil {
		j.Progress(Event{Step: step, Text: fmt.Sprintf(format, args...)})
	}
}

// builders in the order in which they are tried.
func builders() []builder {
	return []builder{goBuilder()}
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
	if err != nil {
		return Result{}, err
	}
	j := &job{Request: q, why: why}
	j.say("choose", "%s: %s", chosen.name, why)
	result, err := chosen.build(ctx, j)
	if err != nil {
		return Result{}, fmt.Errorf("build %s with %s: %w", q.Dir, chosen.name, err)
	}
	result.Builder, result.Why = chosen.name, why
	if result.Image != nil {
		result.Digest, err = result.Image.Digest()
	} else {
		result.Digest, err = result.Index.Digest()
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
			var names []string
			for _, b := range all {
				names = append(names, b.name)
			}
			return builder{}, "", fmt.Errorf("build: no builder is called %q: use one of %s", q.Builder, strings.Join(names, ", "))
		}
		return all[i], "asked for", nil
	}
	choices, err := Explain(q.Dir)
	if err != nil {
		return builder{}, "", err
	}
	if len(choices) == 0 {
		return builder{}, "", fmt.Errorf("build %s: %w: it has no Go main package, Dockerfile, Procfile, package.json, requirements.txt, index.html or static program", q.Dir, ErrNoBuilder)
	}
	i := slices.IndexFunc(all, func(b builder) bool { return b.name == choices[0].Builder })
	return all[i], choices[0].Why, nil
}
