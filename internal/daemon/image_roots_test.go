package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
)

func TestUsedDigests(t *testing.T) {
	pinned := func(c string) string { return "127.0.0.1:5000/app@sha256:" + strings.Repeat(c, 64) }
	revision := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Name: "app-00001", Namespace: "default"}}
	revision.Spec.Containers = []corev1.Container{{Image: "127.0.0.1:5000/app:latest"}}
	revision.Status.ContainerStatuses = []servingv1.ContainerStatus{{ImageDigest: pinned("a")}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "other"}}
	pod.Spec.InitContainers = []corev1.Container{{Image: pinned("b")}}
	got, err := usedDigests(t.Context(), fake.NewClientset(pod), servingfake.NewSimpleClientset(revision))
	if err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{digest.Digest("sha256:" + strings.Repeat("a", 64)), digest.Digest("sha256:" + strings.Repeat("b", 64))}
	if !slices.Equal(got, want) {
		t.Errorf("used are %v, want %v", got, want)
	}
}
