package main

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fairlead-dev/fairlead/internal/build"
)

// buildFlags say how to build; run, deploy and build have them.
type buildFlags struct {
	builder, base, pkg, file, target string
	platforms, labels, args, secrets []string
	ldflags                          []string
	noCache                          bool
	// quick leaves out what only matters to images that are kept: the list of what is inside.
	quick bool
	// exclude are folders that are no source.
	exclude []string
}

// addTo defines the flags that run and deploy have; the rest is only for build.
func (f *buildFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.builder, "builder", "", "builder to use: "+strings.Join(build.Builders(), ", ")+" (default: by what is found)")
	flags.StringVar(&f.pkg, "package", "", "Go main package, relative to the folder (default: the only one, or the one that the module is named after)")
	flags.StringVar(&f.base, "base", "", "image to build on, or host for this machine's own interpreter (default: the builder's)")
	flags.StringArrayVar(&f.args, "build-arg", nil, "argument NAME=VALUE of a Dockerfile")
	flags.BoolVar(&f.noCache, "no-cache", false, "build again what could be taken from the cache")
}

func (f *buildFlags) addAllTo(flags *pflag.FlagSet) {
	f.addTo(flags)
	flags.StringArrayVar(&f.ldflags, "ldflags", nil, "further flags of the Go linker")
	flags.StringSliceVar(&f.platforms, "platform", nil, "platform to build for, as in linux/arm64; Go can do several (default: this machine's)")
	flags.StringVarP(&f.file, "file", "f", "", "Dockerfile, relative to the folder")
	flags.StringVar(&f.target, "target", "", "stage of a Dockerfile (default: the last)")
	flags.StringArrayVar(&f.secrets, "secret", nil, "secret of a Dockerfile: id=NAME,src=PATH")
	flags.StringArrayVar(&f.labels, "image-label", nil, "label NAME=VALUE of the image")
}

// request makes a build of a folder out of the flags.
func (f *buildFlags) request(path, registry string) (build.Request, error) {
	q := build.Request{
		Dir: path, Builder: f.builder, Base: f.base, NoCache: f.noCache, Platforms: f.platforms,
		Registry: registry, CacheDir: buildCache(), Exclude: f.exclude, Go: build.GoOptions{Package: f.pkg, Ldflags: f.ldflags},
		Dockerfile: build.DockerfileOptions{File: f.file, Target: f.target, Secrets: f.secrets},
	}
	var err error
	if q.Labels, err = pairs("--image-label", f.labels); err != nil {
		return q, err
	}
	q.Dockerfile.Args, err = pairs("--build-arg", f.args)
	return q, err
}

// check refuses what cannot be built so, before anything is started for it.
func (f *buildFlags) check(argument, path string, isPath bool) error {
	if isPath {
		q, err := f.request(path, "")
		if err != nil {
			return err
		}
		return asOption(build.Check(q))
	}
	for _, o := range []struct {
		flag  string
		given bool
	}{
		{"--package", f.pkg != ""}, {"--builder", f.builder != ""}, {"--base", f.base != ""}, {"--build-arg", len(f.args) > 0}, {"--no-cache", f.noCache},
	} {
		if o.given {
			return withTry(usagef("%s is for a folder of source, and there is no %s here: it is taken for an image", o.flag, argument), "a folder, or the image without %s", o.flag)
		}
	}
	return nil
}

// asOption makes a wrong setting of a build a wrong command line, and says what to try where there is nothing to build.
func asOption(err error) error {
	if errors.Is(err, build.ErrNoBuilder) {
		return withTry(err, "the folder with the source, or an image; fairlead build --explain FOLDER")
	}
	if errors.As(err, new(*build.OptionError)) {
		return usageError{err}
	}
	return err
}

// pairs reads values of the form NAME=VALUE.
func pairs(flag string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, usagef("%s %q is not NAME=VALUE", flag, v)
		}
		m[name] = value
	}
	return m, nil
}
