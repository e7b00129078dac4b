package build

import (
	"cmp"
	"regexp"
)

// pullForms are how the tools say that a base image cannot be had: buildah and podman, then BuildKit.
var pullForms = regexp.MustCompile(`initializing source docker://|pinging container registry|reading manifest .* in |short-name|failed to resolve source metadata|pull access denied`)

// shortForm is how buildah and podman refuse a name that could be of any registry.
var shortForm = regexp.MustCompile(`short-name "?([^" ]+)"? (?:did not resolve|resolution)`)

// pullError is a build that ended because its base image could not be had.
type pullError struct {
	error
	advice string
}

func (e *pullError) Unwrap() error { return e.error }

// Try says what can be done about it.
func (e *pullError) Try() string { return e.advice }

// explainPull adds what to try to the error of a tool that could not get a base image, and leaves others as they are. The registry is this
// machine's; empty stands for where it is unless told otherwise.
func explainPull(err error, registry string) error {
	text := err.Error()
	if short := shortForm.FindStringSubmatch(text); short != nil {
		return &pullError{err, "write the whole name of the base image after FROM, such as docker.io/library/" + short[1]}
	}
	if !pullForms.MatchString(text) {
		return err
	}
	return &pullError{err, "check the name after FROM and the network; without one, bring the base image with fairlead image import and name it " + cmp.Or(registry, "127.0.0.1:5000") + "/NAME after FROM"}
}
