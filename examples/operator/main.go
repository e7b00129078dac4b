// Command operator is a small controller-runtime manager with a kind of its own: for every Site it keeps a Knative
// Service and reports its URL. It knows nothing of Fairlead and runs as it is on any cluster with Knative.
package main

import (
	"context"
	"fmt"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

var (
	siteKind    = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Site"}
	serviceKind = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}
)

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(signals.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "sites.example.com",
		LeaderElectionNamespace: "default",
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).For(object(siteKind)).Owns(object(serviceKind)).Complete(&reconciler{manager.GetClient(), manager})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

func object(kind schema.GroupVersionKind) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	return o
}

type reconciler struct {
	client.Client
	manager ctrl.Manager
}

// Reconcile keeps the service of one site.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := object(siteKind)
	if err := r.Get(ctx, request.NamespacedName, site); apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	service := object(serviceKind)
	service.SetName(site.GetName())
	service.SetNamespace(site.GetNamespace())
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, service, func() error {
		if err := shape(service, site); err != nil {
			return err
		}
		return controllerutil.SetControllerReference(site, service, r.manager.GetScheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	url, _, _ := unstructured.NestedString(service.Object, "status", "url")
	before := site.DeepCopy()
	site.Object["status"] = map[string]any{"url": url, "observedGeneration": site.GetGeneration()}
	return ctrl.Result{}, r.Status().Patch(ctx, site, client.MergeFrom(before))
}

// shape sets in a service what the site says and leaves everything else as it is.
func shape(service, site *unstructured.Unstructured) error {
	image, _, _ := unstructured.NestedString(site.Object, "spec", "image")
	title, _, _ := unstructured.NestedString(site.Object, "spec", "title")
	containers, _, err := unstructured.NestedSlice(service.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	container := map[string]any{}
	if len(containers) > 0 {
		container, _ = containers[0].(map[string]any)
	}
	container["image"] = image
	container["env"] = []any{map[string]any{"name": "TITLE", "value": title}}
	return unstructured.SetNestedSlice(service.Object, []any{container}, "spec", "template", "spec", "containers")
}
