package controller

import (
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
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

// TestRouteServiceLister holds that the core Services of a route are found by its index, in its namespace, and other selections as ever.
func TestRouteServiceLister(t *testing.T) {
	set, lists := newInformers(fake.NewClientset(), nil, nil)
	if err := set.index(); err != nil {
		t.Fatal(err)
	}
	service := func(namespace, name, route string) *corev1.Service {
		s := &corev1.Service{}
		s.Namespace, s.Name, s.Labels = namespace, name, map[string]string{serving.RouteLabelKey: route, "even": strconv.FormatBool(len(name)%2 == 0)}
		return s
	}
	for _, s := range []*corev1.Service{service("n", "a", "one"), service("n", "bb", "one"), service("n", "c", "two"), service("m", "d", "one")} {
		if err := set.coreServices.GetStore().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	lister := routeServiceLister{lists.coreServices, set.coreServices}
	for selector, want := range map[string][]string{
		serving.RouteLabelKey + "=one":           {"a", "bb"},
		serving.RouteLabelKey + "=one,even=true": {"bb"},
		serving.RouteLabelKey + "=none":          nil,
		"even=false":                             {"a", "c"},
	} {
		parsed, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		list, err := lister.Services("n").List(parsed)
		var got []string
		for _, s := range list {
			got = append(got, s.Name)
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", selector, got, err, want)
		}
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
