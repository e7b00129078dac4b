package kinds

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// groups are the API groups served, each in its one version; of autoscaling/v1 there is only the scale of a Deployment.
func groups() []func(*runtime.Scheme) error {
	return []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme,
		rbacv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme,
		admissionregistrationv1.AddToScheme, eventsv1.AddToScheme, policyv1.AddToScheme,
	}
}

// Scheme is a scheme with the codecs over it.
type Scheme struct {
	*runtime.Scheme
	// Codecs speaks JSON, YAML and protobuf.
	Codecs serializer.CodecFactory
	// Parameters reads the options of requests from query parameters.
	Parameters runtime.ParameterCodec
}

// NewScheme registers every type of the groups served, as its own version and as the internal one.
func NewScheme() (*Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range groups() {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("kinds: register types: %w", err)
		}
	}
	for gvk := range s.AllKnownTypes() {
		object, err := s.New(gvk)
		if err != nil {
			return nil, fmt.Errorf("kinds: register types: %w", err)
		}
		if !ours(s, gvk) || shadowed(gvk) {
			continue
		}
		s.AddKnownTypeWithName(schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind}, object)
	}
	for _, gv := range s.PrioritizedVersionsAllGroups() {
		if err := s.SetVersionPriority(gv); err != nil {
			return nil, fmt.Errorf("kinds: register types: %w", err)
		}
	}
	if err := s.SetVersionPriority(autoscalingv2.SchemeGroupVersion, autoscalingv1.SchemeGroupVersion); err != nil {
		return nil, fmt.Errorf("kinds: register types: %w", err)
	}
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(s, unversioned)
	s.AddUnversionedTypes(unversioned, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	if err := addFieldLabels(s); err != nil {
		return nil, err
	}
	if err := addParameters(s); err != nil {
		return nil, err
	}
	addDefaults(s)
	return &Scheme{Scheme: s, Codecs: serializer.NewCodecFactory(s), Parameters: runtime.NewParameterCodec(s)}, nil
}

// ours tells the types of k8s.io/api from the options and lists that apimachinery adds to each group.
func ours(s *runtime.Scheme, gvk schema.GroupVersionKind) bool {
	return gvk.Version != runtime.APIVersionInternal && strings.HasPrefix(s.AllKnownTypes()[gvk].PkgPath(), "k8s.io/api/")
}

// StorageCodec writes one group version as protobuf and reads whatever is stored.
func (s *Scheme) StorageCodec(gv schema.GroupVersion) runtime.Codec {
	if gv == eventsv1.SchemeGroupVersion {
		return eventCodec{s.StorageCodec(corev1.SchemeGroupVersion)}
	}
	return runtime.NewCodec(
		s.Codecs.EncoderForVersion(protobuf.NewSerializer(s.Scheme, s.Scheme), gv),
		s.Codecs.DecoderToVersion(s.Codecs.UniversalDeserializer(), runtime.InternalGroupVersioner),
	)
}
