package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// selectable gives the fields by which objects can be selected, besides metadata.name and metadata.namespace.
type selectable struct {
	names  []string
	values func(runtime.Object) fields.Set
}

func podFields() *selectable {
	return &selectable{
		names: []string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
			"status.phase", "status.podIP", "status.nominatedNodeName"},
		values: func(object runtime.Object) fields.Set {
			p := object.(*corev1.Pod)
			return fields.Set{
				"spec.nodeName":            p.Spec.NodeName,
				"spec.restartPolicy":       string(p.Spec.RestartPolicy),
				"spec.schedulerName":       p.Spec.SchedulerName,
				"spec.serviceAccountName":  p.Spec.ServiceAccountName,
				"spec.hostNetwork":         fmt.Sprint(p.Spec.HostNetwork),
				"status.phase":             string(p.Status.Phase),
				"status.podIP":             p.Status.PodIP,
				"status.nominatedNodeName": p.Status.NominatedNodeName,
			}
		},
	}
}

func eventFields() *selectable {
	return &selectable{
		names: []string{"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
			"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"},
		values: func(object runtime.Object) fields.Set {
			e := object.(*corev1.Event)
			source := e.Source.Component
			if source == "" {
				source = e.ReportingController
			}
			return fields.Set{
				"involvedObject.kind":            e.InvolvedObject.Kind,
				"involvedObject.namespace":       e.InvolvedObject.Namespace,
				"involvedObject.name":            e.InvolvedObject.Name,
				"involvedObject.uid":             string(e.InvolvedObject.UID),
				"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
				"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
				"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
				"reason":                         e.Reason,
				"reportingComponent":             e.ReportingController,
				"source":                         source,
				"type":                           e.Type,
			}
		},
	}
}

func secretFields() *selectable {
	return &selectable{names: []string{"type"}, values: func(object runtime.Object) fields.Set {
		return fields.Set{"type": string(object.(*corev1.Secret).Type)}
	}}
}

func namespaceFields() *selectable {
	return &selectable{names: []string{"status.phase"}, values: func(object runtime.Object) fields.Set {
		return fields.Set{"status.phase": string(object.(*corev1.Namespace).Status.Phase)}
	}}
}

// addFieldLabels makes the scheme accept the selectable fields of each kind.
func addFieldLabels(s *runtime.Scheme) error {
	for _, r := range table() {
		if r.fields == nil {
			continue
		}
		known := map[string]bool{"metadata.name": true, "metadata.namespace": r.namespaced}
		for _, name := range r.fields.names {
			known[name] = true
		}
		err := s.AddFieldLabelConversionFunc(r.gvk, func(label, value string) (string, string, error) {
			if !known[label] {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return label, value, nil
		})
		if err != nil {
			return fmt.Errorf("kinds: register fields of %s: %w", r.gvk.Kind, err)
		}
	}
	return nil
}

// attributes gives the labels and fields that selectors see.
func (r *row) attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	m, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{}
	if r.fields != nil {
		set = r.fields.values(object)
	}
	set["metadata.name"] = m.GetName()
	if r.namespaced {
		set["metadata.namespace"] = m.GetNamespace()
	}
	return m.GetLabels(), set, nil
}

func (r *row) predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: r.attributes}
}
