package daemon

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	kubeadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/api/admission"
	"github.com/fairlead-dev/fairlead/internal/knative"
)

// namespaces exist from the start beside those every API server has.
var namespaces = []string{"knative-serving", "knative-eventing", "istio-system", InfoNamespace}

// wireAPI opens the API server with Knative's kinds and rules, and the part that keeps the rules as their ConfigMaps say.
func (w *wiring) wireAPI() error {
	rules, err := admission.New(admission.Config{Logger: w.logger.With("component", "admission")})
	if err != nil {
		return err
	}
	listener, err := w.listen.take("api", w.settings.APIListen)
	if err != nil {
		return err
	}
	w.server, err = api.New(api.Config{
		Dir: w.path("api"), Kubeconfig: w.Kubeconfig(), Etcd: w.objects.Endpoint(), Listener: bounded(listener),
		Definitions: knative.Definitions(), Converters: map[types.NamespacedName]api.Converter{
			{Namespace: knative.ConversionNamespace, Name: knative.ConversionService}: knative.Convert,
		}, Seeds: knative.SeedConfigMaps(), Namespaces: namespaces,
		EventTTL: w.settings.EventTTL, Audit: api.AuditLog{File: w.settings.AuditLog, LimitBytes: w.settings.AuditLogLimit},
		Quotas: w.quotas, Admission: []kubeadmission.Interface{rules}, Live: w.live, Views: w.views,
		Logger: w.logger.With("component", "api"), Registerer: w.registry,
	})
	if err != nil {
		return err
	}
	w.addresses.API = w.server.Addr().String()
	client, err := kubernetes.NewForConfig(w.server.Loopback())
	if err != nil {
		return fmt.Errorf("client for the API: %w", err)
	}
	w.parts.add("api", storeDrain, w.server.Run, "store")
	w.parts.add("info of before", shortDrain, once(func(ctx context.Context) error { return forgetInfo(ctx, client) }), "api")
	w.parts.add("rules", shortDrain, func(ctx context.Context, ready func()) error { return rules.Run(ctx, client, ready) }, "api")
	w.client = client
	return nil
}

// wireInfo publishes where the daemon listens, once everything else is ready.
func (w *wiring) wireInfo() error {
	info := Info{Addresses: w.addresses, Domain: w.settings.Domain}
	if w.gateway != nil {
		info.Authority = string(w.gateway.RootCertificate())
	}
	if w.sandboxes != nil {
		info.Runtimes = runtimes(w.sandboxes.Info())
	}
	w.parts.add("info", shortDrain, once(func(ctx context.Context) error {
		return errors.Join(publishRegistryToken(ctx, w.client, w.token), publishInfo(ctx, w.client, info))
	}), w.parts.names()...)
	return nil
}
