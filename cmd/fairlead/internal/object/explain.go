package object

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	openapi "k8s.io/client-go/openapi"
)

// fieldSchema is the part of an OpenAPI v3 schema that Explain shows.
type fieldSchema struct {
	Description          string                  `json:"description"`
	Type                 string                  `json:"type"`
	Format               string                  `json:"format"`
	Ref                  string                  `json:"$ref"`
	AllOf                []*fieldSchema          `json:"allOf"`
	OneOf                []*fieldSchema          `json:"oneOf"`
	Properties           map[string]*fieldSchema `json:"properties"`
	Items                *fieldSchema            `json:"items"`
	AdditionalProperties *boolOrSchema           `json:"additionalProperties"`
	Required             []string                `json:"required"`
	Enum                 []any                   `json:"enum"`
	IntOrString          bool                    `json:"x-kubernetes-int-or-string"`
	Kinds                []metaKind              `json:"x-kubernetes-group-version-kind"`
}

type metaKind struct{ Group, Version, Kind string }

// boolOrSchema is the value of additionalProperties.
type boolOrSchema struct{ schema *fieldSchema }

// UnmarshalJSON takes a boolean as no schema.
func (b *boolOrSchema) UnmarshalJSON(data []byte) error {
	if string(data) == "true" || string(data) == "false" {
		return nil
	}
	return json.Unmarshal(data, &b.schema)
}

// document is what the server publishes about one group and version.
type document struct {
	Components struct {
		Schemas map[string]*fieldSchema `json:"schemas"`
	} `json:"components"`
}

// resolve follows references until there is something to show.
func (d *document) resolve(f *fieldSchema) *fieldSchema {
	for range 32 {
		switch {
		case f.Ref != "":
			target, ok := d.Components.Schemas[strings.TrimPrefix(f.Ref, "#/components/schemas/")]
			if !ok {
				return f
			}
			f = described(target, f.Description)
		case len(f.AllOf) == 1 && len(f.Properties) == 0:
			f = described(f.AllOf[0], f.Description)
		default:
			return f
		}
	}
	return f
}

// described is f with the description of the place where it is used, if that has one.
func described(f *fieldSchema, description string) *fieldSchema {
	if description == "" {
		return f
	}
	with := *f
	with.Description = description
	return &with
}

// inside is the schema that a path goes on from: that of the element of a list or map.
func (d *document) inside(f *fieldSchema) *fieldSchema {
	for range 32 {
		f = d.resolve(f)
		switch {
		case f.Items != nil:
			f = f.Items
		case f.AdditionalProperties != nil && f.AdditionalProperties.schema != nil:
			f = f.AdditionalProperties.schema
		default:
			return f
		}
	}
	return f
}

// typeName spells the type of a field: <string>, <[]Container>, <map[string]string>.
func (d *document) typeName(f *fieldSchema) string {
	name := refName(f)
	r := d.resolve(f)
	switch {
	case r.IntOrString || len(r.OneOf) > 0:
		return "IntOrString"
	case r.Items != nil:
		return "[]" + d.typeName(r.Items)
	case r.AdditionalProperties != nil && r.AdditionalProperties.schema != nil:
		return "map[string]" + d.typeName(r.AdditionalProperties.schema)
	case r.Type == "object" || r.Type == "":
		if name != "" {
			return name
		}
		return "Object"
	}
	return r.Type
}

// refName is the Go name of a referred type.
func refName(f *fieldSchema) string {
	ref := f.Ref
	if ref == "" && len(f.AllOf) == 1 {
		ref = f.AllOf[0].Ref
	}
	return ref[strings.LastIndexAny(ref, "./")+1:]
}

// ExplainOptions say what Explain shows.
type ExplainOptions struct {
	// APIVersion is the group and version to explain, when not the preferred one.
	APIVersion string
	// Recursive shows the fields of the fields too, without descriptions.
	Recursive bool
}

// Explain shows what a kind or one of its fields means: "ksvc", "ksvc.spec.template.spec.containers".
func (c *Client) Explain(what string, o ExplainOptions, out io.Writer) error {
	word, path, _ := strings.Cut(what, ".")
	var fields []string
	if path != "" {
		fields = strings.Split(path, ".")
	}
	mappings, err := c.mappings(word)
	if err != nil {
		return err
	}
	if len(mappings) != 1 {
		return &UsageError{fmt.Sprintf("%q is a category, not a kind", word), "fairlead api-resources --category " + word}
	}
	kind := mappings[0].GroupVersionKind
	if o.APIVersion != "" {
		version, err := schema.ParseGroupVersion(o.APIVersion)
		if err != nil {
			return &UsageError{fmt.Sprintf("--api-version: %v", err), "--api-version serving.knative.dev/v1"}
		}
		kind = version.WithKind(kind.Kind)
	}
	doc, root, err := c.schemaOf(kind)
	if err != nil {
		return err
	}
	return explain(doc, root, kind, fields, o, out)
}

func (c *Client) schemaOf(kind schema.GroupVersionKind) (*document, *fieldSchema, error) {
	paths, err := c.discovery.OpenAPIV3().Paths()
	if err != nil {
		return nil, nil, fmt.Errorf("asking the server what %s means: %w", kind.Kind, err)
	}
	address := "apis/" + kind.GroupVersion().String()
	if kind.Group == "" {
		address = "api/" + kind.Version
	}
	var published openapi.GroupVersion
	if published = paths[address]; published == nil {
		return nil, nil, &UsageError{fmt.Sprintf("the server has no %s", kind.GroupVersion()), "fairlead api-resources"}
	}
	data, err := published.Schema("application/json")
	if err != nil {
		return nil, nil, fmt.Errorf("asking the server what %s means: %w", kind.Kind, err)
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, nil, fmt.Errorf("the server's description of %s: %w", kind.GroupVersion(), err)
	}
	for _, f := range doc.Components.Schemas {
		if slices.Contains(f.Kinds, metaKind{kind.Group, kind.Version, kind.Kind}) {
			return &doc, f, nil
		}
	}
	return nil, nil, fmt.Errorf("the server does not say what %s means", kind)
}

func explain(doc *document, root *fieldSchema, kind schema.GroupVersionKind, fields []string, o ExplainOptions, out io.Writer) error {
	current, done := root, []string{kind.Kind}
	for _, field := range fields {
		holder := doc.inside(current)
		next, ok := holder.Properties[field]
		if !ok {
			return &UsageError{fmt.Sprintf("%s has no field %q", strings.Join(done, "."), field), "fairlead explain " + strings.ToLower(strings.Join(done, "."))}
		}
		current, done = next, append(done, field)
	}
	if kind.Group != "" {
		fmt.Fprintf(out, "GROUP:      %s\n", kind.Group)
	}
	fmt.Fprintf(out, "KIND:       %s\nVERSION:    %s\n\n", kind.Kind, kind.Version)
	resolved := doc.resolve(current)
	if len(fields) > 0 {
		fmt.Fprintf(out, "FIELD: %s <%s>\n\n", fields[len(fields)-1], doc.typeName(current))
	}
	fmt.Fprintf(out, "DESCRIPTION:\n%s\n", indent(orEmpty(resolved.Description), "    "))
	if len(resolved.Enum) > 0 {
		fmt.Fprintf(out, "\nENUM:\n%s", enumLines(resolved.Enum))
	}
	holder := doc.inside(current)
	if len(holder.Properties) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nFIELDS:\n")
	doc.fields(holder, "  ", o.Recursive, nil, out)
	return nil
}

// fields lists the fields of f; above holds what encloses it, so that a type within itself ends.
func (d *document) fields(f *fieldSchema, margin string, recursive bool, above []*fieldSchema, out io.Writer) {
	names := make([]string, 0, len(f.Properties))
	for name := range f.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := f.Properties[name]
		required := ""
		if slices.Contains(f.Required, name) {
			required = " -required-"
		}
		fmt.Fprintf(out, "%s%s\t<%s>%s\n", margin, name, d.typeName(field), required)
		if recursive {
			inner := d.inside(field)
			if !slices.Contains(above, inner) {
				d.fields(inner, margin+"  ", true, append(slices.Clip(above), f), out)
			}
			continue
		}
		fmt.Fprintf(out, "%s\n\n", indent(orEmpty(d.resolve(field).Description), margin+"  "))
	}
}

func orEmpty(description string) string {
	if description == "" {
		return "<empty>"
	}
	return description
}

func enumLines(values []any) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, "    %v\n", v)
	}
	return b.String()
}

// indent breaks a text into lines of at most 80 characters behind a margin.
func indent(text, margin string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		width := 0
		for i, word := range strings.Fields(line) {
			if i > 0 && width+1+len(word) > 80 {
				b.WriteString("\n" + margin)
				width = len(margin)
			} else if i > 0 {
				b.WriteString(" ")
				width++
			}
			if i == 0 {
				if b.Len() > 0 {
					b.WriteString("\n")
				}
				b.WriteString(margin)
				width = len(margin)
			}
			b.WriteString(word)
			width += len(word)
		}
	}
	return b.String()
}
