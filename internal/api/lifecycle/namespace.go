package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// accountName is the ServiceAccount that every namespace has.
	accountName = "default"
	// emptyAgain is how soon a namespace is looked at again that something, such as a finalizer, keeps from being empty.
	emptyAgain = 2 * time.Second
)

// ensureAccount gives a namespace its ServiceAccount.
func (k *Keeper) ensureAccount(ctx context.Context, namespace string) error {
	if k.index.at(place{resource: "serviceaccounts", namespace: namespace, name: accountName}) != nil {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: accountName, Namespace: namespace}}
	_, err := k.client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("lifecycle: give namespace %s its account: %w", namespace, err)
}

// emptyNamespace deletes everything in a namespace that is being deleted, and lets it go when nothing is left.
func (k *Keeper) emptyNamespace(ctx context.Context, name string) error {
	space := k.index.at(place{resource: "namespaces", name: name})
	if space == nil || !space.deleting {
		return nil
	}
	left := k.index.inNamespace(name)
	var errs []error
	for _, n := range left {
		if !n.deleting {
			errs = append(errs, k.delete(ctx, n, metav1.DeletePropagationBackground, nil))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(left) > 0 {
		// Deletions wake this task; looking again covers those that were missed.
		k.queue.AddAfter(task{what: workEmpty, name: name}, emptyAgain)
		return nil
	}
	err := k.client.CoreV1().Events(name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("lifecycle: delete events of namespace %s: %w", name, err)
	}
	return k.finalizeNamespace(ctx, name)
}

// finalizeNamespace takes the finalizer off an empty namespace, with which it goes.
func (k *Keeper) finalizeNamespace(ctx context.Context, name string) error {
	n, err := k.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lifecycle: read namespace %s: %w", name, err)
	}
	if n.DeletionTimestamp == nil {
		return nil
	}
	n.Spec.Finalizers = nil
	if _, err = k.client.CoreV1().Namespaces().Finalize(ctx, n, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("lifecycle: finalize namespace %s: %w", name, err)
	}
	return nil
}
