package build

import (
	"fmt"
	"path/filepath"
	"strings"
)

// OptionError is a Request with a setting that cannot be carried out: the command line is wrong, not the source.
type OptionError struct{ text, try string }

func (e *OptionError) Error() string { return e.text }

// Try says what could be given instead.
func (e *OptionError) Try() string { return e.try }

// Check says what is wrong with a Request as far as that can be told before anything is built: an *OptionError for its settings, an error
// that wraps ErrNoBuilder where nothing can be built.
func Check(q Request) error {
	chosen, why, err := choose(q)
	if err != nil {
		return err
	}
	return checkOptions(q, chosen.name, why)
}

// checkOptions refuses settings of another builder than the one that is used.
func checkOptions(q Request, builder, why string) error {
	language, err := goIn(q.Dir, builder)
	if err != nil {
		return err
	}
	for _, o := range []struct {
		option string
		given  bool
		of     string
		fits   bool
	}{
		{"a Go package (--package)", q.Go.Package != "", "go", language},
		{"flags of the Go linker (--ldflags)", len(q.Go.Ldflags) > 0, "go", language},
		{"the name of a Dockerfile (--file)", q.Dockerfile.File != "", "dockerfile", builder == "dockerfile"},
		{"a stage (--target)", q.Dockerfile.Target != "", "dockerfile", builder == "dockerfile"},
		{"a build argument (--build-arg)", len(q.Dockerfile.Args) > 0, "dockerfile", builder == "dockerfile"},
		{"a secret (--secret)", len(q.Dockerfile.Secrets) > 0, "dockerfile", builder == "dockerfile"},
	} {
		if !o.given || o.fits {
			continue
		}
		return &OptionError{
			fmt.Sprintf("%s means nothing to the %s builder, which builds %s (%s)", o.option, builder, q.Dir, why),
			"without it, or with --builder " + o.of,
		}
	}
	return nil
}

// goIn says whether a builder compiles Go in a folder: the go builder always does, a Procfile may stand beside a module.
func goIn(dir, builder string) (bool, error) {
	if builder != "procfile" {
		return builder == "go", nil
	}
	why, err := detectGo(dir)
	return why != "", err
}

// packagePattern is the pattern of go list for a package as people write it: "cmd/web" is a folder here, not a part of the standard library.
func packagePattern(dir, name string) string {
	if name == "" {
		return "."
	}
	if !strings.HasPrefix(name, ".") && !filepath.IsAbs(name) && exists(dir, name) {
		return "./" + name
	}
	return name
}
