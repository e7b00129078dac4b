package kinds

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// addDefaults registers the defaults of each kind, which apply whenever an object is read from a client or the store.
func addDefaults(s *runtime.Scheme) {
	addDefault(s, func(o *corev1.Pod) { defaultPod(&o.Spec) })
	addDefault(s, defaultService)
	addDefault(s, func(o *corev1.Secret) { set(&o.Type, corev1.SecretTypeOpaque) })
	addDefault(s, defaultClaim)
	addDefault(s, defaultEndpoints)
	addDefault(s, defaultDeployment)
	addDefault(s, defaultJob)
	addDefault(s, defaultEndpointSlice)
	addDefault(s, func(o *corev1.Namespace) { defaultNamespace(o) })
	addDefault(s, func(o *rbacv1.RoleBinding) { defaultBinding(&o.RoleRef, o.Subjects, o.Namespace) })
	addDefault(s, func(o *rbacv1.ClusterRoleBinding) { defaultBinding(&o.RoleRef, o.Subjects, "") })
	addDefault(s, defaultMutatingHooks)
	addDefault(s, defaultValidatingHooks)
	addDefault(s, defaultPolicy)
}

func addDefault[T any, P interface {
	*T
	runtime.Object
}](s *runtime.Scheme, f func(P)) {
	s.AddTypeDefaultingFunc(P(new(T)), func(o any) { f(o.(P)) })
}

// set gives a field a value where it has none.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// setPtr is set for optional fields.
func setPtr[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func defaultNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func defaultService(s *corev1.Service) {
	set(&s.Spec.Type, corev1.ServiceTypeClusterIP)
	set(&s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		set(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		set(&s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		setPtr(&s.Spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		setPtr(&s.Spec.AllocateLoadBalancerNodePorts, true)
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	set(&c.Status.Phase, corev1.ClaimPending)
	setPtr(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			set(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

func defaultEndpointSlice(e *discoveryv1.EndpointSlice) {
	for i := range e.Ports {
		setPtr(&e.Ports[i].Name, "")
		setPtr(&e.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	setPtr(&d.Spec.Replicas, 1)
	setPtr(&d.Spec.RevisionHistoryLimit, 10)
	setPtr(&d.Spec.ProgressDeadlineSeconds, 600)
	set(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		setPtr(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setPtr(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setPtr(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	defaultPod(&d.Spec.Template.Spec)
}

func defaultJob(j *batchv1.Job) {
	if j.Spec.Completions == nil && j.Spec.Parallelism == nil {
		setPtr(&j.Spec.Completions, 1)
	}
	setPtr(&j.Spec.Parallelism, 1)
	setPtr(&j.Spec.BackoffLimit, 6)
	setPtr(&j.Spec.CompletionMode, batchv1.NonIndexedCompletion)
	setPtr(&j.Spec.Suspend, false)
	setPtr(&j.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	if len(j.Labels) == 0 {
		j.Labels = j.Spec.Template.Labels
	}
	defaultPod(&j.Spec.Template.Spec)
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject, namespace string) {
	set(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		switch s := &subjects[i]; s.Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
			set(&s.APIGroup, rbacv1.GroupName)
		}
	}
}

func defaultMutatingHooks(c *admissionregistrationv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		setPtr(&h.FailurePolicy, admissionregistrationv1.Fail)
		setPtr(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		setPtr(&h.NamespaceSelector, metav1.LabelSelector{})
		setPtr(&h.ObjectSelector, metav1.LabelSelector{})
		setPtr(&h.TimeoutSeconds, 10)
		setPtr(&h.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
		defaultHookRules(h.Rules, h.ClientConfig.Service)
	}
}

func defaultValidatingHooks(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		setPtr(&h.FailurePolicy, admissionregistrationv1.Fail)
		setPtr(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		setPtr(&h.NamespaceSelector, metav1.LabelSelector{})
		setPtr(&h.ObjectSelector, metav1.LabelSelector{})
		setPtr(&h.TimeoutSeconds, 10)
		defaultHookRules(h.Rules, h.ClientConfig.Service)
	}
}

func defaultHookRules(rules []admissionregistrationv1.RuleWithOperations, service *admissionregistrationv1.ServiceReference) {
	for i := range rules {
		setPtr(&rules[i].Scope, admissionregistrationv1.AllScopes)
	}
	if service != nil {
		setPtr(&service.Port, 443)
	}
}

func defaultPolicy(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
	setPtr(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
	m := p.Spec.MatchConstraints
	if m == nil {
		return
	}
	setPtr(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	setPtr(&m.NamespaceSelector, metav1.LabelSelector{})
	setPtr(&m.ObjectSelector, metav1.LabelSelector{})
	for i := range m.ResourceRules {
		setPtr(&m.ResourceRules[i].Scope, admissionregistrationv1.AllScopes)
	}
}
