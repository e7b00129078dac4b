package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

// check says what is wrong with a Spec, all of it at once.
func (s Spec) check() error {
	var all []error
	bad := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if !namePattern.MatchString(s.ID) {
		bad("the ID %q must be lower case letters, digits and '-', at most 63", s.ID)
	}
	if len(s.Containers) == 0 {
		bad("there is no container")
	}
	switch s.UserNamespace {
	case UsersAuto, UsersRequired, UsersOff:
	default:
		bad("userNamespace %q must be auto, required or off", s.UserNamespace)
	}
	switch s.Restart {
	case RestartAlways, RestartOnFailure, RestartNever:
	default:
		bad("there is no restart policy %q", s.Restart)
	}
	volumes := map[string]bool{}
	for _, v := range s.Volumes {
		if volumes[v.Name] {
			bad("two volumes are called %q", v.Name)
		}
		volumes[v.Name] = true
		if err := v.check(); err != nil {
			bad("volume %q: %w", v.Name, err)
		}
	}
	names := map[string]bool{}
	for _, c := range append(append([]Container{}, s.Init...), s.Containers...) {
		if names[c.Name] {
			bad("two containers are called %q", c.Name)
		}
		names[c.Name] = true
		if err := c.check(volumes); err != nil {
			bad("container %q: %w", c.Name, err)
		}
	}
	if _, err := newPolicy(s.Egress); err != nil {
		bad("egress: %w", err)
	}
	return errors.Join(all...)
}

func (v Volume) check() error {
	kinds := 0
	for _, set := range []bool{v.Empty != nil, v.Files != nil, v.HostPath != ""} {
		if set {
			kinds++
		}
	}
	switch {
	case !namePattern.MatchString(v.Name):
		return errors.New("the name must be lower case letters, digits and '-', at most 63")
	case kinds != 1:
		return errors.New("exactly one of empty, files and hostPath must be set")
	case v.HostPath != "" && !filepath.IsAbs(v.HostPath):
		return fmt.Errorf("the path %q must be absolute", v.HostPath)
	case v.Files != nil:
		return checkFiles(v.Files.Files)
	}
	return nil
}

func checkFiles(files map[string]File) error {
	for name := range files {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return fmt.Errorf("the file name %q must be a relative path that does not begin with '..'", name)
		}
	}
	return nil
}

func (c Container) check(volumes map[string]bool) error {
	if !namePattern.MatchString(c.Name) {
		return errors.New("the name must be lower case letters, digits and '-', at most 63")
	}
	if len(c.Lowers) == 0 {
		return errors.New("there is no root file system")
	}
	for _, dir := range c.Lowers {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("the root file system %q must be an absolute path", dir)
		}
	}
	if len(c.Args) == 0 || c.Args[0] == "" {
		return errors.New("there is no program to run: set a command, or an entrypoint in the image")
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("the working directory %q must be absolute", c.Dir)
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("the variable %q must be NAME=value", e)
		}
	}
	for _, id := range []*int64{c.RunAsUser, c.RunAsGroup} {
		if id != nil && (*id < 0 || *id > 1<<32-2) {
			return fmt.Errorf("%d is no user or group", *id)
		}
	}
	for _, m := range c.Mounts {
		if !volumes[m.Volume] {
			return fmt.Errorf("it mounts the volume %q, which there is not", m.Volume)
		}
		if !filepath.IsAbs(m.Path) || filepath.Clean(m.Path) == "/" {
			return fmt.Errorf("the mount path %q must be absolute and not the root", m.Path)
		}
		if m.SubPath != "" && !filepath.IsLocal(m.SubPath) {
			return fmt.Errorf("the subPath %q must be relative and stay in the volume", m.SubPath)
		}
	}
	return c.checkProbes()
}

func (c Container) checkProbes() error {
	for name, p := range map[string]*Probe{"readiness": c.Readiness, "liveness": c.Liveness, "startup": c.Startup} {
		if p == nil {
			continue
		}
		kinds := 0
		for _, set := range []bool{p.HTTP != nil, p.TCP != nil, p.GRPC != nil, len(p.Exec) > 0} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			return fmt.Errorf("the %s probe must have exactly one of http, tcp, grpc and exec", name)
		}
	}
	return nil
}
