package knative

// fieldName is a field of a Go type by its JSON name; the empty name is the type itself.
type fieldName struct{ goType, field string }

// describe holds what `kubectl explain` says. It covers what people look up, in our own words.
var describe = map[fieldName]string{
	{"*", "apiVersion"}: "The group and version of this kind, for example serving.knative.dev/v1.",
	{"*", "kind"}:       "The name of this kind.",
}
