package build

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// findBinary gives the one program that a path means: the file itself, or the only file of a folder.
func findBinary(path string) (string, *elf.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return "", nil, err
		}
		var found string
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if found != "" || !e.Type().IsRegular() {
				return "", nil, nil
			}
			found = e.Name()
		}
		path = filepath.Join(path, found)
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", nil, nil //nolint:nilerr // not a program
	}
	return path, f, nil
}

func detectBinary(path string) (string, error) {
	program, f, err := findBinary(path)
	if f == nil {
		return "", err
	}
	defer f.Close()
	return filepath.Base(program) + " is a program", nil
}

var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x",
}

func buildBinary(ctx context.Context, j *job) (built, error) {
	program, f, err := findBinary(j.Dir)
	if err != nil {
		return built{}, err
	}
	if f == nil {
		return built{}, errors.New("it is neither a program nor a folder with one program and nothing else")
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && j.Base == "" {
			libraries, _ := f.ImportedLibraries() // only for the message
			return built{}, fmt.Errorf("%s is linked dynamically (%s): link it statically, or name a base image that has its libraries", filepath.Base(program), strings.Join(libraries, ", "))
		}
	}
	goos, arch := j.platform()
	if got := machines[f.Machine]; got != arch {
		return built{}, fmt.Errorf("%s is a program for %s, not for %s", filepath.Base(program), f.Machine, arch)
	}
	target := "app/" + filepath.Base(program)
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{Entrypoint: []string{"/" + target}}}
	if err := spec.add(j, []layerFile{{target: "app", dir: true}, {target: target, source: program, mode: 0o755}}); err != nil {
		return built{}, err
	}
	var packages []sbomPackage
	if _, err := buildinfo.ReadFile(program); err == nil {
		if packages, err = goPackages(program); err != nil {
			return built{}, err
		}
	}
	image, err := spec.image(ctx, j)
	return built{image: image, packages: packages}, err
}
