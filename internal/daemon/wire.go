package daemon

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/store"
)

// wire opens the components and says in which order they start.
func (d *Daemon) wire() error {
	listen, err := newListeners()
	if err != nil {
		return err
	}
	registry := newRegistry()
	objects, err := store.New(store.Config{
		Dir: d.path(storeFolder), QuotaBytes: d.settings.StoreQuota, Logger: d.logger.With("component", "store"), Registerer: registry,
	})
	if err != nil {
		return err
	}
	d.parts.add("store", 15*time.Second, objects.Run)
	var addresses Addresses
	if !d.settings.disabled("metrics") {
		listener, err := listen.take("metrics", d.settings.MetricsListen)
		if err != nil {
			return err
		}
		addresses.Metrics = listener.Addr().String()
		d.parts.add("metrics", 5*time.Second, newMetricsServer(listener, registry).run)
	}
	d.addresses.Store(&addresses)
	return nil
}
