package sandbox

import (
	"fmt"
	"os/exec"
)

// drivers are the ways to run a container that this machine has.
type drivers struct {
	preferred string
	binaries  map[string]string
}

// findDrivers looks for installed runtimes. The one asked for must be among them.
func findDrivers(asked string) (drivers, error) {
	d := drivers{binaries: map[string]string{}}
	for _, name := range []string{"crun", "runc", "runsc"} {
		if path, err := exec.LookPath(name); err == nil {
			d.binaries[name] = path
		}
	}
	if asked != "" {
		d.preferred = asked
		_, err := d.binary(asked)
		return d, err
	}
	for _, name := range []string{"crun", "runc"} {
		if d.binaries[name] != "" {
			d.preferred = name
			return d, nil
		}
	}
	return d, fmt.Errorf("no container runtime: %w: install crun or runc, or ask for the runtime \"process\", which isolates less", ErrRuntimeMissing)
}

// binary gives the path of a driver's program.
func (d drivers) binary(name string) (string, error) {
	switch name {
	case "crun", "runc", "runsc":
		if path := d.binaries[name]; path != "" {
			return path, nil
		}
		return "", fmt.Errorf("%s: %w: install it or choose another runtime", name, ErrRuntimeMissing)
	case "process":
		return "", nil // this program itself
	}
	return "", fmt.Errorf("%w: there is no runtime %q, only crun, runc, runsc and process", ErrSpec, name)
}
