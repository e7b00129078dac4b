package knative

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/webhook/resourcesemantics"
)

// annotateUser notes who made an object and who last changed its spec, in the annotations <group>/creator and
// <group>/lastModifier. Kinds without a spec have neither.
func annotateUser(object, old resourcesemantics.GenericCRD, r Request) {
	spec, ok := object.(apis.HasSpec)
	if !ok {
		return
	}
	accessor, ok := object.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	meta := accessor.GetObjectMeta()
	annotations := meta.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if before, ok := old.(apis.HasSpec); ok {
		if equality.Semantic.DeepEqual(before.GetUntypedSpec(), spec.GetUntypedSpec()) {
			return
		}
	} else {
		annotations[r.Kind.Group+apis.CreatorAnnotationSuffix] = r.User.Username
	}
	annotations[r.Kind.Group+apis.UpdaterAnnotationSuffix] = r.User.Username
	meta.SetAnnotations(annotations)
}
