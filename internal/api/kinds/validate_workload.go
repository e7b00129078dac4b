package kinds

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(_ context.Context, object, old runtime.Object) field.ErrorList {
	p := object.(*corev1.Pod)
	spec := field.NewPath("spec")
	errs := validatePodSpec(spec, &p.Spec)
	before, ok := old.(*corev1.Pod)
	if !ok {
		return errs
	}
	// Images, the deadline and the tolerations may change on a pod; everything else is fixed.
	now := p.Spec.DeepCopy()
	copyImages(now.Containers, before.Spec.Containers)
	copyImages(now.InitContainers, before.Spec.InitContainers)
	now.ActiveDeadlineSeconds = before.Spec.ActiveDeadlineSeconds
	now.Tolerations = before.Spec.Tolerations
	now.TerminationGracePeriodSeconds = before.Spec.TerminationGracePeriodSeconds
	now.NodeName = before.Spec.NodeName
	if !equality.Semantic.DeepEqual(*now, before.Spec) {
		errs = append(errs, field.Forbidden(spec, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
	}
	return errs
}

func copyImages(to, from []corev1.Container) {
	for i := range min(len(to), len(from)) {
		to[i].Image = from[i].Image
	}
}

func validatePodSpec(at *field.Path, p *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if len(p.Containers) == 0 {
		errs = append(errs, field.Required(at.Child("containers"), ""))
	}
	volumes := map[string]bool{}
	for i, v := range p.Volumes {
		name := at.Child("volumes").Index(i).Child("name")
		errs = append(errs, validateName(name, v.Name, volumes)...)
	}
	names := map[string]bool{}
	for i := range p.InitContainers {
		errs = append(errs, validateContainer(at.Child("initContainers").Index(i), &p.InitContainers[i], names, volumes)...)
	}
	for i := range p.Containers {
		errs = append(errs, validateContainer(at.Child("containers").Index(i), &p.Containers[i], names, volumes)...)
	}
	errs = append(errs, oneOf(at.Child("restartPolicy"), p.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})...)
	return errs
}

func validateName(at *field.Path, name string, taken map[string]bool) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	if taken[name] {
		errs = append(errs, field.Duplicate(at, name))
	}
	taken[name] = true
	return errs
}

func validateContainer(at *field.Path, c *corev1.Container, names, volumes map[string]bool) field.ErrorList {
	errs := validateName(at.Child("name"), c.Name, names)
	if c.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	}
	for i, p := range c.Ports {
		errs = append(errs, validatePort(at.Child("ports").Index(i).Child("containerPort"), p.ContainerPort)...)
	}
	for i, e := range c.Env {
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("env").Index(i).Child("name"), ""))
		}
	}
	for i, m := range c.VolumeMounts {
		mount := at.Child("volumeMounts").Index(i)
		if !volumes[m.Name] {
			errs = append(errs, field.NotFound(mount.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(mount.Child("mountPath"), ""))
		}
	}
	for name, limit := range c.Resources.Limits {
		if asked, ok := c.Resources.Requests[name]; ok && asked.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("resources").Child("requests"), asked.String(), "must be less than or equal to "+string(name)+" limit of "+limit.String()))
		}
	}
	return errs
}

func validateDeployment(_ context.Context, object, old runtime.Object) field.ErrorList {
	d := object.(*appsv1.Deployment)
	spec := field.NewPath("spec")
	errs := validatePodSpec(spec.Child("template", "spec"), &d.Spec.Template.Spec)
	if *d.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(spec.Child("replicas"), *d.Spec.Replicas, "must be greater than or equal to 0"))
	}
	errs = append(errs, validateSelector(spec, d.Spec.Selector, d.Spec.Template.Labels)...)
	if before, ok := old.(*appsv1.Deployment); ok && !equality.Semantic.DeepEqual(before.Spec.Selector, d.Spec.Selector) {
		errs = append(errs, field.Invalid(spec.Child("selector"), d.Spec.Selector, "field is immutable"))
	}
	return errs
}

func validateSelector(spec *field.Path, selector *metav1.LabelSelector, template map[string]string) field.ErrorList {
	if selector == nil {
		return field.ErrorList{field.Required(spec.Child("selector"), "")}
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return field.ErrorList{field.Invalid(spec.Child("selector"), selector, err.Error())}
	}
	if s.Empty() {
		return field.ErrorList{field.Invalid(spec.Child("selector"), selector, "empty selector is invalid for deployment")}
	}
	if !s.Matches(labels.Set(template)) {
		return field.ErrorList{field.Invalid(spec.Child("template", "metadata", "labels"), template, "`selector` does not match template `labels`")}
	}
	return nil
}

func validateJob(_ context.Context, object, old runtime.Object) field.ErrorList {
	j := object.(*batchv1.Job)
	spec := field.NewPath("spec")
	errs := validatePodSpec(spec.Child("template", "spec"), &j.Spec.Template.Spec)
	policy := j.Spec.Template.Spec.RestartPolicy
	errs = append(errs, oneOf(spec.Child("template", "spec", "restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})...)
	before, ok := old.(*batchv1.Job)
	if ok && !equality.Semantic.DeepEqual(before.Spec.Template.Spec, j.Spec.Template.Spec) {
		errs = append(errs, field.Invalid(spec.Child("template"), "", "field is immutable"))
	}
	return errs
}
