package daemon

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/quota"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Drain times of the components that need no more than a moment.
const (
	storeDrain = 15 * time.Second
	shortDrain = 5 * time.Second
)

// wiring holds the components while they are put together.
type wiring struct {
	*Daemon
	listen *listeners
	// closers give up what was opened when a later step of wire fails.
	closers   []func() error
	registry  *catalog
	addresses Addresses

	objects  *store.Store
	images   *oci.Store
	token    string // of the registry
	server   *api.Server
	client   kubernetes.Interface
	quotas   *quota.Ledger
	live     *lateLive
	views    *lateViews
	gateway  *gateway.Gateway
	waker    *lateWake
	requests *requestLog
}

// wire opens the components and says in which order they start.
func (d *Daemon) wire() error {
	listen, err := newListeners(context.Background(), d.settings, d.path("sandbox"))
	if listen == nil {
		return err
	}
	if err != nil {
		d.logger.Warn("new sockets are opened", "err", err)
	}
	defer listen.closeRest()
	w := &wiring{Daemon: d, listen: listen, registry: newRegistry(), quotas: quota.New(), live: &lateLive{}, views: &lateViews{}, waker: &lateWake{}}
	for _, step := range []func() error{w.wireStore, w.wireMetrics, w.wireAPI, w.wireImages,
		w.wireGateway, w.wireSandbox, w.wireController, w.wireServing, w.wireInfo} {
		if err := step(); err != nil {
			listen.closeTaken()
			for _, c := range slices.Backward(w.closers) {
				err = errors.Join(err, c())
			}
			return err
		}
	}
	d.addresses.Store(&w.addresses)
	d.metrics = w.registry
	return nil
}

func (w *wiring) wireStore() (err error) {
	w.objects, err = store.New(store.Config{
		Dir: w.path(storeFolder), QuotaBytes: w.settings.StoreQuota,
		Logger: w.logger.With("component", "store"), Registerer: w.registry,
	})
	if err != nil {
		return err
	}
	w.parts.add("store", storeDrain, w.objects.Run)
	return nil
}

func (w *wiring) wireMetrics() error {
	if w.settings.disabled("metrics") {
		return nil
	}
	listener, err := w.listen.take("metrics", w.settings.MetricsListen)
	if err != nil {
		return err
	}
	w.addresses.Metrics = listener.Addr().String()
	w.parts.add("metrics", shortDrain, newWebServer("metrics", bounded(listener), newMetricsHandler(w.registry, w.settings.Pprof), time.Second).run)
	return nil
}

// wireImages opens the image store and, unless it is disabled, the registry in front of it.
func (w *wiring) wireImages() error {
	var listener net.Listener
	hosts := []string{w.settings.RegistryListen}
	if !w.settings.disabled("registry") {
		var err error
		if listener, err = w.listen.take("registry", w.settings.RegistryListen); err != nil {
			return err
		}
		w.addresses.Registry = listener.Addr().String()
		hosts = registryNames(listener.Addr())
	}
	roots, err := w.imageRoots()
	if err != nil {
		return err
	}
	if w.token, err = w.registryToken(); err != nil {
		return err
	}
	config := oci.Config{
		Dir: w.path("images"), Hosts: hosts, Roots: roots, Token: w.token,
		Logger: w.logger.With("component", "images"), Registerer: w.registry,
	}
	if err := w.settings.Images.apply(&config); err != nil {
		return err
	}
	if w.images, err = oci.New(config); err != nil {
		return err
	}
	w.closers = append(w.closers, w.images.Close)
	w.parts.add("images", shortDrain, func(ctx context.Context, ready func()) error {
		return errors.Join(w.images.Run(ctx, ready), w.images.Close())
	})
	if listener != nil {
		w.parts.add("registry", w.settings.Drain, newWebServer("registry", bounded(listener), w.images.Handler(), w.settings.Drain).run, "images")
	}
	return nil
}

// registryNames are the hosts by which references name our own registry.
func registryNames(address net.Addr) []string {
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return []string{address.String()}
	}
	return []string{address.String(), net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("localhost", port)}
}
