package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/retry"
)

const (
	// servedWithin is how long the definitions may take to be served before the start counts as failed.
	servedWithin = 60 * time.Second
	// formAnnotation keeps the definition as this program wrote it, without what the server added, to compare
	// at the next start.
	formAnnotation = "fairlead.dev/definition"
)

// load brings everything that Config asks for into being and waits until it is served.
func (c *chain) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, servedWithin, fmt.Errorf("api: the definitions were not served within %s", servedWithin))
	defer cancel()
	if err := c.bootstrap(ctx); err != nil {
		return err
	}
	if err := c.loadDefinitions(ctx); err != nil {
		return err
	}
	return c.waitServed(ctx)
}

func (c *chain) loadDefinitions(ctx context.Context) error {
	if len(c.server.cfg.Definitions) == 0 {
		return nil
	}
	client, err := apiextensionsclient.NewForConfig(c.server.Loopback())
	if err != nil {
		return fmt.Errorf("api: make client: %w", err)
	}
	definitions := client.ApiextensionsV1().CustomResourceDefinitions()
	list, err := c.definitions().Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("api: list definitions: %w", err)
	}
	stored := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, d := range list {
		stored[d.Name] = d
	}
	for _, d := range c.server.cfg.Definitions {
		if err := loadDefinition(ctx, definitions, d, stored[d.Name]); err != nil {
			return err
		}
	}
	return nil
}

// loadDefinition creates one definition, or updates the stored one if this program's has changed since it was written.
func loadDefinition(ctx context.Context, client v1.CustomResourceDefinitionInterface, wanted, stored *apiextensionsv1.CustomResourceDefinition) error {
	wanted = wanted.DeepCopy()
	form, err := json.Marshal(wanted.Spec)
	if err != nil {
		return fmt.Errorf("api: encode definition %s: %w", wanted.Name, err)
	}
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	wanted.Annotations[formAnnotation] = digest(form)
	if stored == nil {
		_, err = client.Create(ctx, wanted, metav1.CreateOptions{})
	} else if stored.Annotations[formAnnotation] != wanted.Annotations[formAnnotation] || !equality.Semantic.DeepEqual(stored.Labels, wanted.Labels) {
		err = updateDefinition(ctx, client, wanted)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("api: load definition %s: %w", wanted.Name, err)
	}
	return nil
}

// updateDefinition replaces what is stored, again if the server's own controllers wrote its status meanwhile.
func updateDefinition(ctx context.Context, client v1.CustomResourceDefinitionInterface, wanted *apiextensionsv1.CustomResourceDefinition) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		changed, err := client.Get(ctx, wanted.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		changed.Spec, changed.Labels, changed.Annotations = wanted.Spec, wanted.Labels, wanted.Annotations
		_, err = client.Update(ctx, changed, metav1.UpdateOptions{})
		return err
	})
}

// waitServed waits until discovery lists every version of every definition. It looks again whenever discovery changes.
func (c *chain) waitServed(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	c.core.AggregatedDiscoveryGroupManager.AddInvalidationCallback(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	for {
		missing, err := c.missing()
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), fmt.Errorf("api: %s is not served", missing))
		}
	}
}

// missing names a version of a definition that discovery does not list yet; empty if there is none.
func (c *chain) missing() (string, error) {
	groups, err := aggregatedGroups(c.core.AggregatedDiscoveryGroupManager)
	if err != nil {
		return "", fmt.Errorf("api: read discovery: %w", err)
	}
	served := map[string]bool{}
	for _, g := range groups.Items {
		for _, v := range g.Versions {
			for _, r := range v.Resources {
				served[g.Name+"/"+v.Version+"/"+r.Resource] = true
			}
		}
	}
	for _, d := range c.server.cfg.Definitions {
		for _, v := range d.Spec.Versions {
			key := d.Spec.Group + "/" + v.Name + "/" + d.Spec.Names.Plural
			if v.Served && !served[key] {
				return key, nil
			}
		}
	}
	return "", nil
}
