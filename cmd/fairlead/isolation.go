package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// isolations are the values of --isolation: the runtime class of the service, but for gvisor also the program behind it.
var isolations = []string{"crun", "runc", "gvisor", "process"}

// runtimeClass checks --isolation and gives the runtimeClassName; nil leaves the choice to the daemon.
func runtimeClass(isolation string) (*string, error) {
	if isolation == "" {
		return nil, nil
	}
	if !slices.Contains(isolations, isolation) {
		return nil, withTry(usagef("--isolation %q is none of %s", isolation, strings.Join(isolations, ", ")), "--isolation crun, or fairlead doctor for what this machine has")
	}
	return &isolation, nil
}

// isolationAvailable refuses what the daemon's machine does not have, before anything is built for it.
func isolationAvailable(term *terminal, isolation string, info daemon.Info) error {
	if isolation == "" && len(info.Runtimes) > 0 && info.Runtimes[0] == "process" {
		term.note("note: %s", noIsolation)
	}
	if isolation == "" {
		return nil
	}
	if len(info.Runtimes) == 0 {
		return withTry(errors.New("--isolation: the daemon makes no instances: it runs without its sandbox"), "start it without --disable sandbox")
	}
	program := isolation
	if isolation == "gvisor" {
		program = "runsc"
	}
	if !slices.Contains(info.Runtimes, program) {
		if program == "runsc" {
			return withTry(fmt.Errorf("--isolation gvisor: the daemon has no runsc; it has %s", strings.Join(info.Runtimes, ", ")),
				"%s, then start the daemon again; or --isolation %s", daemon.InstallGVisor, info.Runtimes[0])
		}
		return withTry(fmt.Errorf("--isolation %s: the daemon has no %s; it has %s", isolation, program, strings.Join(info.Runtimes, ", ")),
			"install %s and start the daemon again, or --isolation %s", program, info.Runtimes[0])
	}
	if isolation == "process" {
		term.note("note: %s", noIsolation)
	}
	return nil
}

// noIsolation is said of the process driver.
const noIsolation = "the process driver is no container isolation: run only code you trust"

// isolationAnnotation, in the status of a Service, says what keeps its instances apart; "none" for the process driver.
const isolationAnnotation = "fairlead.dev/isolation"

func isolationCell(isolation string) cell {
	if isolation == "none" {
		return cell{isolation, shadeWait}
	}
	return cell{text: isolation}
}
