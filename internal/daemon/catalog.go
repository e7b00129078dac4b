package daemon

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// catalog is a registry that remembers what was registered, so that the reference of all metrics can be made without
// waiting for each to have a value.
type catalog struct {
	*prometheus.Registry
	mu         sync.Mutex
	collectors []prometheus.Collector // guarded by mu
}

// Register adds a collector.
func (c *catalog) Register(one prometheus.Collector) error {
	if err := c.Registry.Register(one); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collectors = append(c.collectors, one)
	return nil
}

// MustRegister adds collectors and panics where one is there already.
func (c *catalog) MustRegister(all ...prometheus.Collector) {
	for _, one := range all {
		if err := c.Register(one); err != nil {
			panic(err)
		}
	}
}

// descriptions lists every metric that can be reported.
func (c *catalog) descriptions() []*prometheus.Desc {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*prometheus.Desc
	for _, one := range c.collectors {
		found := make(chan *prometheus.Desc)
		go func() {
			defer close(found)
			one.Describe(found)
		}()
		for d := range found {
			all = append(all, d)
		}
	}
	return all
}
