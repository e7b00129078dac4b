package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
)

// imageRoots gives the digests that revisions and pods use, also those scaled to zero: what the image store must not
// collect.
func (w *wiring) imageRoots() (func(context.Context) ([]digest.Digest, error), error) {
	serving, err := servingclient.NewForConfig(w.server.Loopback())
	if err != nil {
		return nil, fmt.Errorf("client of the API: %w", err)
	}
	return func(ctx context.Context) ([]digest.Digest, error) { return usedDigests(ctx, w.client, serving) }, nil
}

func usedDigests(ctx context.Context, kube kubernetes.Interface, serving servingclient.Interface) ([]digest.Digest, error) {
	revisions, err := serving.ServingV1().Revisions(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	pods, err := kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var images []string
	for _, r := range revisions.Items {
		for _, statuses := range [][]servingv1.ContainerStatus{r.Status.ContainerStatuses, r.Status.InitContainerStatuses} {
			for _, s := range statuses {
				images = append(images, s.ImageDigest)
			}
		}
		images = append(images, containerImages(r.Spec.PodSpec)...)
	}
	for _, p := range pods.Items {
		images = append(images, containerImages(p.Spec)...)
		for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
			images = append(images, s.ImageID)
		}
	}
	var digests []digest.Digest
	for _, image := range images {
		if _, text, ok := strings.Cut(image, "@"); ok && digest.Digest(text).Validate() == nil {
			digests = append(digests, digest.Digest(text))
		}
	}
	return digests, nil
}

func containerImages(spec corev1.PodSpec) []string {
	var images []string
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		images = append(images, c.Image)
	}
	return images
}
