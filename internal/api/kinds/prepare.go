package kinds

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// prepareSecret moves the plain-text entries to where all entries are.
func prepareSecret(object, _ runtime.Object) {
	s := object.(*corev1.Secret)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

// prepareNamespace makes a namespace one that is emptied before it goes.
func prepareNamespace(object, old runtime.Object) {
	n := object.(*corev1.Namespace)
	defaultNamespace(n)
	if old == nil {
		n.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		n.Status.Phase = corev1.NamespaceActive
		return
	}
	n.Spec.Finalizers = old.(*corev1.Namespace).Spec.Finalizers
}

// preparePod says that a new pod waits.
func preparePod(object, old runtime.Object) {
	p := object.(*corev1.Pod)
	if old == nil {
		p.Status = corev1.PodStatus{Phase: corev1.PodPending}
		set(&p.Spec.ServiceAccountName, "default")
		p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
	}
}

// prepareJob gives a job the selector and labels that tie its pods to it.
func prepareJob(object, old runtime.Object) {
	j := object.(*batchv1.Job)
	if old != nil || (j.Spec.ManualSelector != nil && *j.Spec.ManualSelector) {
		return
	}
	if j.UID == "" {
		j.UID = uuid.NewUUID()
	}
	labels := map[string]string{}
	for k, v := range j.Spec.Template.Labels {
		labels[k] = v
	}
	labels[batchv1.JobNameLabel] = j.Name
	labels[batchv1.ControllerUidLabel] = string(j.UID)
	j.Spec.Template.Labels = labels
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: string(j.UID)}}
	}
}
