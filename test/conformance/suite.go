package main

import (
	"fmt"
	"slices"
	"strings"
)

// testRoot is the folder of the upstream module whose packages are the suites and the images.
const testRoot = "knative.dev/serving/test"

// setting is one value in a ConfigMap of the system namespace that a suite needs while it runs.
type setting struct{ configMap, key, value string }

// suite is one upstream test package.
type suite struct {
	name string
	// path of the package below testRoot.
	path string
	tags string
	// required suites are the conformance suites proper; the others are the end-to-end tests that upstream runs
	// against its own implementation, of which some ask for parts that only that one has.
	required bool
	settings []setting
}

func feature(name string) setting { return setting{"config-features", name, "Enabled"} }

// suites lists what can be run, in the order in which it is run.
func suites() []suite {
	return []suite{
		{name: "api/v1", path: "conformance/api/v1", tags: "e2e", required: true},
		{name: "api/v1beta1", path: "conformance/api/v1beta1", tags: "e2e", required: true},
		{name: "runtime", path: "conformance/runtime", tags: "e2e", required: true},
		{name: "e2e", path: "e2e", tags: "e2e"},
		{name: "e2e/hpa", path: "e2e", tags: "hpa"},
		{name: "e2e/tagheader", path: "e2e/tagheader", tags: "e2e", settings: []setting{feature("tag-header-based-routing")}},
		{name: "e2e/initscale", path: "e2e/initscale", tags: "e2e", settings: []setting{
			{"config-autoscaler", "allow-zero-initial-scale", "true"},
		}},
		{name: "e2e/domainmapping", path: "e2e/domainmapping", tags: "e2e"},
		{name: "e2e/gc", path: "e2e/gc", tags: "e2e", settings: []setting{
			{"config-gc", "retain-since-create-time", "disabled"},
			{"config-gc", "retain-since-last-active-time", "disabled"},
			{"config-gc", "min-non-active-revisions", "0"},
			{"config-gc", "max-non-active-revisions", "0"},
		}},
		{name: "e2e/initcontainers", path: "e2e/initcontainers", tags: "e2e", settings: []setting{
			feature("kubernetes.podspec-init-containers"),
		}},
		{name: "e2e/multicontainerprobing", path: "e2e/multicontainerprobing", tags: "e2e", settings: []setting{
			feature("multi-container-probing"),
		}},
		{name: "e2e/pvc", path: "e2e/pvc", tags: "e2e", settings: []setting{
			feature("kubernetes.podspec-persistent-volume-claim"),
			feature("kubernetes.podspec-persistent-volume-write"),
			feature("kubernetes.podspec-securitycontext"),
		}},
		{name: "e2e/securedefaults", path: "e2e/securedefaults", tags: "e2e", settings: []setting{feature("secure-pod-defaults")}},
	}
}

// choose gives the suites named in a comma-separated list; "conformance" are the required ones, "all" is all.
func choose(list string) ([]suite, error) {
	var chosen []suite
	for _, name := range strings.Split(list, ",") {
		var found []suite
		for _, s := range suites() {
			if s.name == name || name == "all" || (name == "conformance" && s.required) {
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("no suite is named %q: there are conformance, all, %s", name, strings.Join(suiteNames(), ", "))
		}
		chosen = append(chosen, found...)
	}
	return chosen, nil
}

func suiteNames() []string {
	var names []string
	for _, s := range suites() {
		names = append(names, s.name)
	}
	return slices.Compact(names)
}

// file is the name under which the suite's binary and reports are kept.
func (s suite) file() string { return strings.ReplaceAll(s.name, "/", "-") }
