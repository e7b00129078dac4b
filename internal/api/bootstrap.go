package api

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// bootstrap makes the objects that everybody expects, where they are missing. What is there is left alone.
func (c *chain) bootstrap(ctx context.Context) error {
	client, err := clientset.NewForConfig(c.server.Loopback())
	if err != nil {
		return fmt.Errorf("api: make client: %w", err)
	}
	if err := bootstrapRoles(ctx, client); err != nil {
		return err
	}
	if err := c.bootstrapNamespaces(ctx, client); err != nil {
		return err
	}
	return c.bootstrapSeeds(ctx, client)
}

func (c *chain) bootstrapNamespaces(ctx context.Context, client clientset.Interface) error {
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("api: list namespaces: %w", err)
	}
	exists := map[string]bool{}
	for _, n := range list.Items {
		exists[n.Name] = true
	}
	for _, name := range append([]string{"default", "kube-system"}, c.server.cfg.Namespaces...) {
		if exists[name] {
			continue
		}
		exists[name] = true
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
			_, err = client.CoreV1().ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("api: make namespace %s: %w", name, err)
		}
	}
	return nil
}

func (c *chain) bootstrapSeeds(ctx context.Context, client clientset.Interface) error {
	exists := map[string]map[string]bool{}
	for _, seed := range c.server.cfg.Seeds {
		if exists[seed.Namespace] == nil {
			list, err := client.CoreV1().ConfigMaps(seed.Namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("api: list ConfigMaps of %s: %w", seed.Namespace, err)
			}
			exists[seed.Namespace] = map[string]bool{}
			for _, m := range list.Items {
				exists[seed.Namespace][m.Name] = true
			}
		}
		if exists[seed.Namespace][seed.Name] {
			continue
		}
		_, err := client.CoreV1().ConfigMaps(seed.Namespace).Create(ctx, seed.DeepCopy(), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("api: make ConfigMap %s/%s: %w", seed.Namespace, seed.Name, err)
		}
	}
	return nil
}

// bootstrapRoles makes the standard roles and bindings; an administrator's changes to them stay.
func bootstrapRoles(ctx context.Context, client clientset.Interface) error {
	exists := map[string]bool{}
	roles, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("api: list roles: %w", err)
	}
	for _, r := range roles.Items {
		exists["role "+r.Name] = true
	}
	bindings, err := client.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("api: list bindings: %w", err)
	}
	for _, b := range bindings.Items {
		exists["binding "+b.Name] = true
	}
	for _, r := range access.Roles() {
		if exists["role "+r.Name] {
			continue
		}
		if _, err := client.RbacV1().ClusterRoles().Create(ctx, r, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("api: make role %s: %w", r.Name, err)
		}
	}
	for _, b := range access.Bindings() {
		if exists["binding "+b.Name] {
			continue
		}
		if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("api: make binding %s: %w", b.Name, err)
		}
	}
	return nil
}
