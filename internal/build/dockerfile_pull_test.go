package build

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestExplainPull has what the tools print, which no test can make them print without their versions at hand.
func TestExplainPull(t *testing.T) {
	for text, want := range map[string]string{
		"creating build container: initializing source docker://example.invalid/no/such:v1: pinging container registry example.invalid: no such host": "check the name after FROM",
		"initializing source docker://r/a:v1: reading manifest v1 in r/a: manifest unknown":                                                           "check the name after FROM",
		`creating build container: short-name "golang:1" did not resolve to an alias and no unqualified-search registries are defined`:                "docker.io/library/golang:1",
		"ERROR: failed to solve: example.invalid/a: failed to resolve source metadata for example.invalid/a:latest":                                   "check the name after FROM",
		"pull access denied for nothing, repository does not exist or may require 'docker login'":                                                     "check the name after FROM",
		`building at STEP "RUN /tool": while running runtime: exit status 1`:                                                                          "",
	} {
		cause := errors.New(text)
		err := fmt.Errorf("build: %w", explainPull(cause, "127.0.0.1:5001"))
		var advice interface{ Try() string }
		got := ""
		if errors.As(err, &advice) {
			got = advice.Try()
		}
		if !errors.Is(err, cause) || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: try %q, want %q", text, got, want)
		}
	}
}
