package knative

import "regexp"

// notServed are upstream's definitions that Fairlead leaves out: what would act on them runs images of its own.
var notServed = map[string]string{
	"integrationsources.sources.knative.dev": "runs Apache Camel images",
	"integrationsinks.sinks.knative.dev":     "runs Apache Camel images",
	"requestreplies.eventing.knative.dev":    "runs a data plane of its own",
}

// intendedDeviations lists every way in which our definitions differ from upstream's YAML.
func intendedDeviations() []*deviation {
	return []*deviation{
		{line: regexp.MustCompile(`- metadata\.labels\.app\.kubernetes\.io/(version|component) `), reason: "Fairlead has its own version"},
		{line: regexp.MustCompile(`spec\.conversion\.strategy None`), reason: "the value the API server would set"},
		{line: regexp.MustCompile(`spec\.names\.listKind `), reason: "the value the API server would set"},
		{line: regexp.MustCompile(`\+ .*Probe\.properties\.terminationGracePeriodSeconds\.`), reason: "Knative's validation allows it, upstream's schema drops it"},
		{line: regexp.MustCompile(`podautoscalers.* \+ .*scaleTargetRef\.properties\.(fieldPath|namespace|resourceVersion|uid)\.type`), reason: "fields of the Go type that upstream's schema drops"},
		{line: regexp.MustCompile(`^\S+\.(eventing|messaging|flows|sources|sinks)\.knative\.dev \+ spec\.versions\[\w+\]\.properties\.`), reason: "fields of the Go types that upstream's handwritten schemas leave out"},
		{line: regexp.MustCompile(`^\S+\.(eventing|messaging|flows|sources|sinks)\.knative\.dev - spec\.versions\[\w+\]\.properties\..*\.x-kubernetes-preserve-unknown-fields true$`), reason: "described instead of kept as it comes"},
		{line: regexp.MustCompile(`~ spec\.versions\[\w+\]\.additionalPrinterColumns\[\d\]\.jsonPath .*=="Ready".* -> .*=='Ready'`), reason: "other quotation marks"},
		{line: regexp.MustCompile(`^pingsources\S* [-~] spec\.conversion\.`), reason: "the served versions have one shape"},
		{line: regexp.MustCompile(`^(eventtypes|pingsources)\S* ~ spec\.versions\[\w+\]\.deprecationWarning `), reason: "our own words"},
		{line: regexp.MustCompile(`^(pingsources|apiserversources)\S* ~ metadata\.annotations\.registry\.knative\.dev/eventTypes `), reason: "without the descriptions"},
		{line: regexp.MustCompile(`channels\S* - .*\.status\.properties\.deadLetterChannel\.`), reason: "a field that is no longer in the Go type"},
		{line: regexp.MustCompile(`^inmemorychannels\S* - .*\.subscribers\.items\.properties\.namespace\.`), reason: "a field that is not in the Go type"},
		{line: regexp.MustCompile(`^sequences\S* - .*\.status\.properties\.addresses\.`), reason: "a field that is not in the Go type"},
		{line: regexp.MustCompile(`^eventtransforms\S* - .*\.status\..*\.required\[(url|serviceAccountName)\]`), reason: "the status is written by Fairlead alone"},
	}
}
