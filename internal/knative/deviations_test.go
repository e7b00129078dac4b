package knative

import "regexp"

// withoutUpstream are definitions whose YAML is not in a pinned module.
var withoutUpstream = []string{}

// intendedDeviations lists every way in which our definitions differ from upstream's YAML.
func intendedDeviations() []*deviation {
	return []*deviation{
		{line: regexp.MustCompile(`- metadata\.labels\.app\.kubernetes\.io/(version|component) `), reason: "Fairlead has its own version"},
		{line: regexp.MustCompile(`spec\.conversion\.strategy None`), reason: "the value the API server would set"},
		{line: regexp.MustCompile(`spec\.names\.listKind `), reason: "the value the API server would set"},
		{line: regexp.MustCompile(`\+ .*Probe\.properties\.terminationGracePeriodSeconds\.`), reason: "Knative's validation allows it, upstream's schema drops it"},
		{line: regexp.MustCompile(`podautoscalers.* \+ .*scaleTargetRef\.properties\.(fieldPath|namespace|resourceVersion|uid)\.type`), reason: "fields of the Go type that upstream's schema drops"},
	}
}
