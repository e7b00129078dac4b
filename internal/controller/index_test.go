package controller

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
)

func TestDataKeys(t *testing.T) {
	pod := &corev1.PodSpec{
		Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}}},
		Volumes:    []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "files"}}}},
	}
	if got, want := dataKeys("n", pod), []string{"n/env", "n/files"}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

func TestSplitRevisions(t *testing.T) {
	ing := &netv1alpha1.Ingress{Spec: netv1alpha1.IngressSpec{Rules: []netv1alpha1.IngressRule{
		{},
		{HTTP: &netv1alpha1.HTTPIngressRuleValue{Paths: []netv1alpha1.HTTPIngressPath{{Splits: []netv1alpha1.IngressBackendSplit{
			{IngressBackend: netv1alpha1.IngressBackend{ServiceNamespace: "n", ServiceName: "r-1"}},
			{IngressBackend: netv1alpha1.IngressBackend{ServiceNamespace: "n", ServiceName: "r-2"}},
		}}}}},
	}}}
	got, err := splitRevisions(ing)
	if want := []string{"n/r-1", "n/r-2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("revisions %v, %v, want %v", got, err, want)
	}
}

// TestUsers holds that a box is found by what it refers to now, and by nothing once it is gone.
func TestUsers(t *testing.T) {
	b := newBoxSet(nil)
	m := &madeBox{set: b}
	b.refer(m, []string{"n/a", "n/b"})
	b.refer(m, []string{"n/b", "n/c"})
	for data, want := range map[string]bool{"n/a": false, "n/b": true, "n/c": true} {
		if b.users[data][m] != want {
			t.Errorf("found by %s: %t, want %t", data, !want, want)
		}
	}
	b.refer(m, nil)
	if len(b.users) != 0 {
		t.Errorf("left after it is gone: %v", b.users)
	}
}
