package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
