package knative

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/webhook/resourcesemantics"
)

// annotateUser notes who made an object and who last changed its spec, in the annotations <group>/creator and
// <group>/lastModifier. Kinds without a spec have neither. Those of Serving have done it themselves, with their defaults.
//
// A write that leaves the annotations out, such as a PUT of a manifest, keeps the stored ones; upstream refuses it, because they are
// immutable.
func annotateUser(object, old resourcesemantics.GenericCRD, r Request) {
	accessor, ok := object.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	meta := accessor.GetObjectMeta()
	creator, modifier := r.Kind.Group+apis.CreatorAnnotationSuffix, r.Kind.Group+apis.UpdaterAnnotationSuffix
	if spec, ok := object.(apis.HasSpec); ok {
		before, update := old.(apis.HasSpec)
		if !update {
			annotate(meta, creator, r.User.Username)
		}
		if !update || !equality.Semantic.DeepEqual(before.GetUntypedSpec(), spec.GetUntypedSpec()) {
			annotate(meta, modifier, r.User.Username)
		}
	}
	keep(meta, old, creator)
	keep(meta, old, modifier)
}

// keep gives an object the annotation that the stored one has, where it has none.
func keep(meta metav1.Object, old resourcesemantics.GenericCRD, key string) {
	accessor, ok := old.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	stored, was := accessor.GetObjectMeta().GetAnnotations()[key]
	if _, is := meta.GetAnnotations()[key]; was && !is {
		annotate(meta, key, stored)
	}
}

func annotate(meta metav1.Object, key, value string) {
	annotations := meta.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	meta.SetAnnotations(annotations)
}
