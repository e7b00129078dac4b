package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-dev/fairlead/internal/knative"
)

// syncPoll is how often it is looked whether all ConfigMaps have been read.
const syncPoll = 2 * time.Millisecond

// Run keeps the settings as the ConfigMaps read through client say, until ctx ends. It calls ready once it has read
// them all. Settings that cannot be read are logged and change nothing; those of a deleted ConfigMap are a fresh
// installation's again. Validations that ask the API server do so through client from the start of Run.
func (p *Plugin) Run(ctx context.Context, client kubernetes.Interface, ready func()) error {
	p.admitter.Ask(client)
	var synced []cache.InformerSynced
	for _, namespace := range []string{knative.ServingNamespace, knative.EventingNamespace} {
		factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
		registration, err := factory.Core().V1().ConfigMaps().Informer().AddEventHandler(p.handler()) //nolint:contextcheck // As in Validate.
		if err != nil {
			return fmt.Errorf("watching the ConfigMaps of %s: %w", namespace, err)
		}
		factory.Start(ctx.Done())
		defer factory.Shutdown()
		synced = append(synced, registration.HasSynced)
	}
	read := func(context.Context) (bool, error) {
		return !slices.ContainsFunc(synced, func(done cache.InformerSynced) bool { return !done() }), nil
	}
	if wait.PollUntilContextCancel(ctx, syncPoll, true, read) != nil {
		return nil
	}
	ready()
	<-ctx.Done()
	return nil
}

func (p *Plugin) handler() cache.ResourceEventHandler {
	apply := func(object any) {
		cm, ok := object.(*corev1.ConfigMap)
		if !ok {
			return
		}
		if err := p.admitter.Configure(cm); err != nil {
			p.log.Warn("setting not taken, the last good one stays", "namespace", cm.Namespace, "config_map", cm.Name, "err", err)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    apply,
		UpdateFunc: func(_, object any) { apply(object) },
		DeleteFunc: func(object any) { p.forget(object) },
	}
}

func (p *Plugin) forget(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	cm, ok := object.(*corev1.ConfigMap)
	if !ok {
		return
	}
	if err := p.admitter.Reset(cm.Namespace, cm.Name); err != nil {
		p.log.Warn("setting not reset", "namespace", cm.Namespace, "config_map", cm.Name, "err", err)
	}
}
