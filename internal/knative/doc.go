// Package knative holds Knative's kinds as data and Knative's own rules about them.
//
// [Definitions] gives a CustomResourceDefinition for every Serving and Eventing kind Fairlead serves. Names, short
// names, categories, printer columns and subresources are upstream's; the schemas are built here, by reflection over
// the Go types of the pinned Knative modules, so they cannot drift from the code that defaults and validates. A test
// compares them with the YAML upstream publishes and names every deviation.
//
// [Admitter] runs SetDefaults and Validate of those types the way upstream's webhooks do, so that refusals and
// warnings are upstream's word for word. [SeedConfigMaps] gives the ConfigMaps of knative-serving and
// knative-eventing as a fresh installation has them.
//
// Nothing here reads a clock, the network or a file, and nothing has state that outlives a call, except the
// configuration an Admitter is given; every function may be called from many goroutines.
//
//	for _, crd := range knative.Definitions() {
//		fmt.Println(crd.Name) // services.serving.knative.dev, ...
//	}
package knative
