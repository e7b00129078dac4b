package api

import (
	"runtime"

	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"
	basecompatibility "k8s.io/component-base/compatibility"
)

// kubernetesVersion is the version of Kubernetes whose API machinery this is. Clients compare it with what they need.
const kubernetesVersion = "1.35.0"

// shownVersion is what /version and kubectl version show: Kubernetes' number with ours as build metadata.
type shownVersion struct {
	basecompatibility.EffectiveVersion
	kubernetes *version.Version
	ours       string
}

// Info is the answer to /version.
func (v shownVersion) Info() *apiversion.Info {
	return &apiversion.Info{
		Major:      "1",
		Minor:      "35",
		GitVersion: "v" + v.kubernetes.String() + "+fairlead-" + shortVersion(v.ours),
		GoVersion:  runtime.Version(),
		Compiler:   runtime.Compiler,
		Platform:   runtime.GOOS + "/" + runtime.GOARCH,
	}
}
