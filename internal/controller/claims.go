package controller

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// reconcileClaim binds a persistent volume claim: every claim has a folder of this machine, so there is nothing to wait for.
func (c *Controller) reconcileClaim(ctx context.Context, k key) error {
	claim, err := c.listers.volumeClaims.PersistentVolumeClaims(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	if c.conf.VolumeDir == "" || claim.Status.Phase == corev1.ClaimBound || claim.DeletionTimestamp != nil {
		return nil
	}
	changed := claim.DeepCopy()
	changed.Status.Phase = corev1.ClaimBound
	changed.Status.AccessModes = claim.Spec.AccessModes
	changed.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]}
	_, err = c.kube.CoreV1().PersistentVolumeClaims(k.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if ignoreGone(err) != nil {
		return fmt.Errorf("binding claim %q: %w", k.Name, err)
	}
	return nil
}

// ImagesInUse are the digests that revisions and pods run by: fill oci.Config.Roots with it. Before Run it is an error, so that
// nothing is collected on what is not known yet.
func (c *Controller) ImagesInUse(context.Context) ([]digest.Digest, error) {
	if !c.informers.revisions.HasSynced() || !c.informers.pods.HasSynced() {
		return nil, fmt.Errorf("images in use: the controller has not read the revisions yet")
	}
	revisions, err := c.listers.revisions.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	seen := map[digest.Digest]bool{}
	for _, rev := range revisions {
		for _, list := range [][]v1.ContainerStatus{rev.Status.ContainerStatuses, rev.Status.InitContainerStatuses} {
			for _, status := range list {
				note(seen, status.ImageDigest)
			}
		}
	}
	for _, m := range c.boxes.every() {
		if t, _ := m.parts(); t != nil {
			for _, reference := range t.digests {
				note(seen, reference)
			}
		}
	}
	all := make([]digest.Digest, 0, len(seen))
	for d := range seen {
		all = append(all, d)
	}
	return all, nil
}

func note(seen map[digest.Digest]bool, reference string) {
	if _, text, ok := cutDigest(reference); ok {
		if d, err := digest.Parse(text); err == nil {
			seen[d] = true
		}
	}
}
