package api

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// informPoll is how often the informers are asked whether they have read everything; they tell it in no other way.
const informPoll = 2 * time.Millisecond

// definitions follows the definitions that are stored.
func (c *chain) definitions() v1.CustomResourceDefinitionInformer {
	return c.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions()
}

// inform starts the informers of both servers and waits until they have read what is stored. Upstream would start them with its
// controllers, each of which then looks for them only every 100 ms. The loopback listener has to be served.
func (c *chain) inform(ctx context.Context) error {
	definitions := c.definitions().Informer()
	c.extensions.Informers.Start(ctx.Done())
	c.informers.Start(ctx.Done())
	now := make(chan struct{}) // closed: upstream's wait looks once and does not wait
	close(now)
	missing := "definitions"
	err := wait.PollUntilContextCancel(ctx, informPoll, true, func(context.Context) (bool, error) {
		if !definitions.HasSynced() {
			return false, nil
		}
		for kind, synced := range c.informers.WaitForCacheSync(now) {
			if !synced {
				missing = kind.String()
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("api: read %s before serving: %w", missing, context.Cause(ctx))
	}
	return nil
}
