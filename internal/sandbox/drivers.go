package sandbox

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// InstallGVisor is a command that installs runsc as an ordinary user where Go is installed; GOBIN must be on the daemon's PATH. Built
// with cgo it would need libraries that it does not find where it runs.
const InstallGVisor = "CGO_ENABLED=0 go install gvisor.dev/gvisor/runsc@" + gvisorVersion

// gvisorVersion is what the tests are run with; the Makefile reads it here.
const gvisorVersion = "v0.0.0-20260905035102-160fafc42237"

// drivers are the ways to run a container that this machine has.
type drivers struct {
	preferred string
	binaries  map[string]string
}

// systemDirs are where Debian has programs of the system, and an ordinary user's PATH does not lead.
var systemDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// LookPath finds a program as exec.LookPath does, and also among those of the system: Debian has runc in /usr/sbin.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range systemDirs {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}

// findDrivers looks for installed runtimes. The one asked for must be among them.
func findDrivers(asked string) (drivers, error) {
	d := drivers{binaries: map[string]string{}}
	for _, name := range []string{"crun", "runc", "runsc"} {
		if path, err := LookPath(name); err == nil {
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
		if name == "runsc" {
			return "", fmt.Errorf("gVisor (runsc): %w: install it by %s and start the daemon again, or choose another runtime", ErrRuntimeMissing, InstallGVisor)
		}
		return "", fmt.Errorf("%s: %w: install it or choose another runtime", name, ErrRuntimeMissing)
	case "process":
		return "", nil // this program itself
	}
	return "", fmt.Errorf("%w: there is no runtime %q, only crun, runc, runsc and process", ErrSpec, name)
}

// isolation says what keeps an instance apart.
func (s Spec) isolation() Isolation {
	if s.Runtime != "process" {
		return Isolation{Runtime: s.Runtime}
	}
	confined := processConfinement()
	for _, c := range append(slices.Clone(s.Init), s.Containers...) {
		if c.SeccompUnconfined {
			confined.filter = false
		}
		if c.AllowPrivilegeEscalation {
			confined.privileges = false
		}
	}
	return Isolation{Runtime: s.Runtime, Missing: confined.String()}
}

// confinement is what the process driver has in the place of a container runtime's.
type confinement struct {
	landlock           int // version; 0: none
	filter, privileges bool
}

// ProcessDriver says for people what the process driver lacks on this machine, and what it has.
func ProcessDriver() string { return processConfinement().String() }

func processConfinement() confinement {
	return confinement{landlock: helper.LandlockVersion(), filter: bundle.CanFilter(), privileges: true}
}

// String says for people what is missing and what there is.
func (c confinement) String() string {
	missing, has := []string{"no users of its own"}, []string{"namespaces", "resource limits"}
	for _, part := range []struct {
		there   bool
		yes, no string
	}{
		{c.landlock > 0, fmt.Sprintf("Landlock (version %d)", c.landlock), "no Landlock"},
		{c.filter, "a system call filter", "no system call filter"},
		{c.privileges, "no new privileges", "new privileges by setuid programs"},
	} {
		if part.there {
			has = append(has, part.yes)
		} else {
			missing = append(missing, part.no)
		}
	}
	return "the process driver is no container isolation: " + strings.Join(missing, ", ") + "; what there is: " + strings.Join(has, ", ") +
		"; run only code you trust"
}
