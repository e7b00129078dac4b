package knative

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
)

// fieldRule says about one field what its Go type cannot: what controller-gen reads from comments.
type fieldRule struct {
	optional bool // may be missing though the JSON tag has no omitempty
	required bool // may not be missing, also where the kinds leave that to validation
	opaque   bool // an object whose inside is not described: anything is kept
	refused  bool // known to Kubernetes, refused by Knative: kept so that validation can name it
	mapKeys  []string
	set      *apiextensionsv1.JSON // default value
	atomic   bool                  // marked x-kubernetes-list-type: atomic upstream
	value    *apiextensionsv1.JSONSchemaProps
}

// typeRules are the rules of the fields of one Go type, by JSON name. The entry "" is about the type itself:
// atomic there means x-kubernetes-map-type: atomic.
type typeRules map[string]fieldRule

// schemas builds OpenAPI schemas from Go types.
type schemas struct {
	rules map[reflect.Type]typeRules
	// words are the descriptions.
	words map[fieldName]string
	// required marks the fields without omitempty as required. Upstream's Eventing schemas leave that to validation,
	// whose texts say more.
	required bool
}

// schemaOf builds the schema of a whole kind: apiVersion, kind, metadata and the kind's own fields.
func (s *schemas) schemaOf(object any) *apiextensionsv1.JSONSchemaProps {
	t := reflect.TypeOf(object).Elem()
	root := s.build(t, nil)
	root.Properties["apiVersion"] = apiextensionsv1.JSONSchemaProps{Type: "string", Description: s.words[fieldName{"*", "apiVersion"}]}
	root.Properties["kind"] = apiextensionsv1.JSONSchemaProps{Type: "string", Description: s.words[fieldName{"*", "kind"}]}
	root.Properties["metadata"] = apiextensionsv1.JSONSchemaProps{Type: "object"}
	root.Required = nil
	return &root
}

// build describes t; above holds the types that enclose it, so that a type containing itself ends.
func (s *schemas) build(t reflect.Type, above []reflect.Type) apiextensionsv1.JSONSchemaProps {
	if known, ok := s.known(t); ok {
		return known
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.build(t.Elem(), above)
	case reflect.Struct:
		if slices.Contains(above, t) {
			return opaqueObject()
		}
		return s.structSchema(t, append(slices.Clip(above), t))
	case reflect.Map:
		value := s.build(t.Elem(), above)
		return apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &value}}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return apiextensionsv1.JSONSchemaProps{Type: "string", Format: "byte"}
		}
		item := s.build(t.Elem(), above)
		return apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	default:
		return scalar(t)
	}
}

func (s *schemas) structSchema(t reflect.Type, above []reflect.Type) apiextensionsv1.JSONSchemaProps {
	out := apiextensionsv1.JSONSchemaProps{Type: "object", Description: s.words[fieldName{t.String(), ""}], Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	s.addFields(&out, t, t, above)
	slices.Sort(out.Required)
	if s.rules[t][""].atomic {
		out.XMapType = ptr("atomic")
	}
	if len(out.Properties) == 0 {
		return opaqueObject()
	}
	return out
}

// addFields describes the fields of t in out; those of embedded structs are fields of out too. owner is the type
// that out describes, t itself or the one that embeds it; its rules come before those of t.
func (s *schemas) addFields(out *apiextensionsv1.JSONSchemaProps, owner, t reflect.Type, above []reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case f.Anonymous && name == "":
			s.addFields(out, owner, direct(f.Type), above)
			continue
		case f.Type == reflect.TypeFor[metav1.TypeMeta]():
			continue
		}
		rule, ok := s.rules[owner][name]
		if !ok {
			rule = s.rules[t][name]
		}
		p := s.field(f.Type, rule, above)
		if text := s.text(owner, t, name); text != "" && !rule.refused {
			p.Description = text
		}
		out.Properties[name] = p
		optional := rule.optional || rule.refused || strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if rule.required || (s.required && !optional) {
			out.Required = append(out.Required, name)
		}
	}
}

// direct is t, or what it points to.
func direct(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// text is the description of a field of owner that stands in t, which is owner or embedded in it.
func (s *schemas) text(owner, t reflect.Type, name string) string {
	if text := s.words[fieldName{owner.String(), name}]; text != "" {
		return text
	}
	return s.words[fieldName{t.String(), name}]
}

func (s *schemas) field(t reflect.Type, rule fieldRule, above []reflect.Type) apiextensionsv1.JSONSchemaProps {
	var p apiextensionsv1.JSONSchemaProps
	switch {
	case rule.value != nil:
		p = *rule.value.DeepCopy()
	case rule.opaque || rule.refused:
		p = opaque(t)
	default:
		p = s.build(t, above)
	}
	if rule.refused {
		p.Description = refusedDescription
	}
	if rule.set != nil {
		p.Default = rule.set
	}
	if rule.atomic {
		p.XListType = ptr("atomic")
	}
	if len(rule.mapKeys) > 0 {
		p.XListType, p.XListMapKeys = ptr("map"), rule.mapKeys
	}
	return p
}

// refusedDescription marks a field that is in the schema only so that validation can name it.
const refusedDescription = "Refused: Knative does not allow this field of a Kubernetes pod."

// opaque describes a value of type t no deeper than its outermost shape.
func opaque(t reflect.Type) apiextensionsv1.JSONSchemaProps {
	if known, ok := wellKnown(t); ok {
		return known
	}
	switch t.Kind() {
	case reflect.Pointer:
		return opaque(t.Elem())
	case reflect.Struct, reflect.Map:
		return opaqueObject()
	case reflect.Slice:
		item := opaque(t.Elem())
		return apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	default:
		return scalar(t)
	}
}

func opaqueObject() apiextensionsv1.JSONSchemaProps {
	return apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr(true)}
}

// anyValue is a place where every JSON value is kept.
func anyValue() apiextensionsv1.JSONSchemaProps {
	return apiextensionsv1.JSONSchemaProps{XPreserveUnknownFields: ptr(true)}
}

// quantityPattern is what resource.Quantity accepts when it is written as text.
const quantityPattern = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`

// known describes the types that are not described by their fields.
func (s *schemas) known(t reflect.Type) (apiextensionsv1.JSONSchemaProps, bool) {
	if t == reflect.TypeFor[metav1.ObjectMeta]() {
		return s.templateMetadata(), true
	}
	return wellKnown(t)
}

// wellKnown describes the types whose JSON is not what their Go kind says.
func wellKnown(t reflect.Type) (apiextensionsv1.JSONSchemaProps, bool) {
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	intOrString := apiextensionsv1.JSONSchemaProps{XIntOrString: true, AnyOf: []apiextensionsv1.JSONSchemaProps{{Type: "integer"}, {Type: "string"}}}
	switch t {
	case reflect.TypeFor[apis.URL](), reflect.TypeFor[metav1.Duration]():
		return text, true
	case reflect.TypeFor[apis.VolatileTime]():
		return text, true
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		text.Format = "date-time"
		return text, true
	case reflect.TypeFor[intstr.IntOrString]():
		return intOrString, true
	case reflect.TypeFor[resource.Quantity]():
		intOrString.Pattern = quantityPattern
		return intOrString, true
	case reflect.TypeFor[runtime.RawExtension](), reflect.TypeFor[corev1.PodTemplateSpec]():
		return opaqueObject(), true
	}
	return apiextensionsv1.JSONSchemaProps{}, false
}

// templateMetadata is the metadata of something inside an object, such as a revision template: the fields people
// set are described, the others are kept.
func (s *schemas) templateMetadata() apiextensionsv1.JSONSchemaProps {
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	texts := apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &text}}
	list := apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &text}}
	out := opaqueObject()
	out.Properties = map[string]apiextensionsv1.JSONSchemaProps{}
	for name, p := range map[string]apiextensionsv1.JSONSchemaProps{"annotations": texts, "labels": texts, "finalizers": list, "name": text, "namespace": text} {
		p.Description = s.words[fieldName{"template metadata", name}]
		out.Properties[name] = p
	}
	return out
}

func scalar(t reflect.Type) apiextensionsv1.JSONSchemaProps {
	switch t.Kind() {
	case reflect.String:
		return apiextensionsv1.JSONSchemaProps{Type: "string"}
	case reflect.Bool:
		return apiextensionsv1.JSONSchemaProps{Type: "boolean"}
	case reflect.Int32, reflect.Int16, reflect.Int8:
		return apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int32"}
	case reflect.Int64:
		return apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int64"}
	case reflect.Int, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return apiextensionsv1.JSONSchemaProps{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return apiextensionsv1.JSONSchemaProps{Type: "number"}
	case reflect.Interface:
		return anyValue()
	}
	panic(fmt.Sprintf("knative: no schema for Go type %s", t))
}

func ptr[T any](v T) *T { return &v }
