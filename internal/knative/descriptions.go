package knative

import "strings"

// fieldName is a field by the Go type it stands in and its JSON name; the empty name is the type itself.
type fieldName struct{ goType, field string }

// descriptions are what `kubectl explain` says, in our own words, for what people look up.
func descriptions() map[fieldName]string {
	out := map[fieldName]string{
		{"*", "apiVersion"}:           "The group and version of this kind, for example serving.knative.dev/v1.",
		{"*", "kind"}:                 "The name of this kind.",
		{"template metadata", "name"}: "Name of the revision. It must begin with the name of the service or configuration and a dash, and a name is used for one spec only. Without it the server makes one: hello-00001.",
		{"template metadata", "annotations"}: "Annotations of the revision, among them those of the autoscaler: autoscaling.knative.dev/min-scale, max-scale, target, metric, window. " +
			"A change makes a new revision.",
		{"template metadata", "labels"}:     "Labels of the revision. A change makes a new revision.",
		{"template metadata", "finalizers"}: "Not used in a template.",
		{"template metadata", "namespace"}:  "Not used in a template: the revision is in the namespace of its configuration.",
	}
	for _, table := range []string{servingDescriptions, podDescriptions, networkingDescriptions, eventingDescriptions, messagingDescriptions} {
		addDescriptions(out, table)
	}
	return out
}

// addDescriptions reads a table of lines: a line that ends in a colon names a Go type, with what it is after it on
// the same line where people see that; the indented lines that follow are its fields.
func addDescriptions(out map[fieldName]string, table string) {
	goType := ""
	for line := range strings.Lines(table) {
		name, text, found := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case strings.TrimSpace(line) == "":
			continue
		case !strings.HasPrefix(line, "\t"):
			goType = strings.TrimSuffix(name, ":")
			name = ""
		}
		if found {
			out[fieldName{goType, name}] = text
		}
	}
}
