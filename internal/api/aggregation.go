package api

import (
	"context"
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	aggregationGroup    = "apiregistration.k8s.io"
	aggregationResource = "apiservices"
)

// aggregation refuses APIServices, by which a cluster's API passes requests on to other servers. The kind is defined all the same:
// without it, clients would only say that they do not know it.
type aggregation struct{}

var _ admission.ValidationInterface = aggregation{}

// Handles reports which operations are looked at.
func (aggregation) Handles(op admission.Operation) bool { return op == admission.Create }

// Validate refuses.
func (aggregation) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != (schema.GroupResource{Group: aggregationGroup, Resource: aggregationResource}) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotImplemented, Reason: "NotImplemented",
		Message: fmt.Sprintf("APIService %q is refused: Fairlead does not pass requests on to other API servers; "+
			"define the kinds with a CustomResourceDefinition, or let clients ask that server itself", a.GetName()),
	}}
}

// aggregationDefinition defines APIService, of which there never is one.
func aggregationDefinition() *apiextensionsv1.CustomResourceDefinition {
	keep := true
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:        aggregationResource + "." + aggregationGroup,
			Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, refuses every object"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: aggregationGroup,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural: aggregationResource, Singular: "apiservice", Kind: "APIService", ListKind: "APIServiceList", Categories: []string{"api-extensions"},
			},
			Scope:      apiextensionsv1.ClusterScoped,
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Description: "A server for a group of kinds. Fairlead refuses it.", XPreserveUnknownFields: &keep,
				}},
			}},
		},
	}
}
