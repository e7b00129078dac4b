package knative

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one Knative kind as data; definition makes a CustomResourceDefinition of it.
type kind struct {
	group, name, plural string
	shortNames          []string
	categories          []string
	cluster             bool // not namespaced
	product             string
	labels              []string // labels of the definition besides the usual ones, all with the value "true"
	annotations         map[string]string
	versions            []version
}

// version is one served version of a kind. The first of a kind is the stored one unless another says so.
type version struct {
	name       string
	object     any // pointer to the Go type
	columns    []apiextensionsv1.CustomResourceColumnDefinition
	notStored  bool
	deprecated string // the warning for users of this version
	scale      *apiextensionsv1.CustomResourceSubresourceScale
}

// Products: what a kind belongs to.
const (
	productServing  = "knative-serving"
	productEventing = "knative-eventing"
)

// Definitions gives the definition of every kind Fairlead serves, Serving first, in a fixed order. The caller owns
// the result. Building them takes a few milliseconds.
func Definitions() []*apiextensionsv1.CustomResourceDefinition {
	words := descriptions()
	byProduct := map[string]*schemas{
		productServing:  {rules: servingRules(), words: words, required: true},
		productEventing: {rules: eventingRules(), words: words},
	}
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, k := range kinds() {
		out = append(out, k.definition(byProduct[k.product]))
	}
	return out
}

func (k kind) groupVersionKind(v version) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.group, Version: v.name, Kind: k.name}
}

func (k kind) definition(s *schemas) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{
		TypeMeta: metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        k.plural + "." + k.group,
			Labels:      map[string]string{"app.kubernetes.io/name": k.product, "knative.dev/crd-install": "true"},
			Annotations: k.annotations,
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: k.group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: k.name, ListKind: k.name + "List", Plural: k.plural, Singular: strings.ToLower(k.name),
				ShortNames: k.shortNames, Categories: k.categories,
			},
			Scope:      apiextensionsv1.NamespaceScoped,
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter},
		},
	}
	if k.cluster {
		crd.Spec.Scope = apiextensionsv1.ClusterScoped
	}
	for _, label := range k.labels {
		crd.Labels[label] = "true"
	}
	if len(converted()[schema.GroupKind{Group: k.group, Kind: k.name}]) > 0 {
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: ConversionNamespace, Name: ConversionService}},
			ConversionReviewVersions: []string{"v1", "v1beta1"},
		}}
	}
	for _, v := range k.versions {
		crd.Spec.Versions = append(crd.Spec.Versions, v.definition(s))
	}
	return crd
}

func (v version) definition(s *schemas) apiextensionsv1.CustomResourceDefinitionVersion {
	out := apiextensionsv1.CustomResourceDefinitionVersion{
		Name:                     v.name,
		Served:                   true,
		Storage:                  !v.notStored,
		AdditionalPrinterColumns: v.columns,
		Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s.schemaOf(v.object)},
		Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}, Scale: v.scale},
	}
	if v.deprecated != "" {
		out.Deprecated, out.DeprecationWarning = true, &v.deprecated
	}
	return out
}

func column(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "string", JSONPath: path}
}

func intColumn(name, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: name, Type: "integer", JSONPath: path}
}

func ageColumn() apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}
}

// conditionColumns are Ready and Reason, which nearly every kind ends with. quote is the quotation mark upstream
// has in the path; it makes no difference to the result.
func conditionColumns(quote string) []apiextensionsv1.CustomResourceColumnDefinition {
	path := ".status.conditions[?(@.type==" + quote + "Ready" + quote + ")]"
	return []apiextensionsv1.CustomResourceColumnDefinition{column("Ready", path+".status"), column("Reason", path+".reason")}
}
