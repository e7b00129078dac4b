package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	netclient "knative.dev/networking/pkg/client/clientset/versioned"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/quota"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// Config is what a Controller works with. REST, Images, Sandboxes and Gateway are required.
type Config struct {
	// REST reaches the API with every right.
	REST      *rest.Config
	Images    *oci.Store
	Sandboxes *sandbox.Manager
	Gateway   *gateway.Gateway
	// Domain is the last part of host names where config-domain names none. Empty: "localhost".
	Domain string
	// GatewayAddress, GatewayPort and GatewayTLSPort say where the gateway listens, for the core Service that publishes it.
	// An empty address is 127.0.0.1; a port of 0 is left out.
	GatewayAddress              string
	GatewayPort, GatewayTLSPort int
	// APIAddress is where instances that call the API are led to, as host:port, and APICertificate what they are given to trust, in PEM.
	// An empty address leaves them without.
	APIAddress     string
	APICertificate []byte
	// VolumeDir is the folder for persistent volume claims. It is made when first used; empty refuses claims.
	VolumeDir string
	// CPUMillis and MemoryBytes are what instances may reserve together. 0: all processors, all memory of the machine.
	CPUMillis, MemoryBytes int64
	// Ports opens the addresses that services publish; nil: as any program does.
	Ports Ports
	// Spares is how many revisions at zero are kept a created instance for, the most recently used ones. 0: a number for the memory of the
	// machine; less: none.
	Spares int
	// Quotas is the ledger that the API keeps the ResourceQuotas in; nil knows of none.
	Quotas *quota.Ledger

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Controller reconciles the Serving kinds. Make one with New and run it once.
type Controller struct {
	conf    Config
	log     *slog.Logger
	metrics *metrics
	kube    kubernetes.Interface
	serving servingclient.Interface
	net     netclient.Interface
	dynamic dynamic.Interface
	events  record.EventRecorder
	now     func() time.Time

	broadcaster record.EventBroadcaster
	informers   *informerSet
	listers     *listers
	config      atomic.Pointer[settings]
	maps        map[string]*corev1.ConfigMap // settings as last read; the settings queue alone uses it

	serviceQueue, configurationQueue, routeQueue, revisionQueue *queue
	mappingQueue, tableQueue, viewQueue, podQueue               *queue
	settingsQueue, claimQueue, publishQueue, newcomerQueue      *queue

	wrote     statuses
	asked     *viewDemand
	hashes    *hashes    // the table queue alone uses it, and book
	book      *tableBook // nil until the table was first made
	digests   *digestResolver
	scalers   *scalerSet
	boxes     *boxSet
	pods      *podRunner
	publisher *publisher
	capacity  *capacity
	spares    *sparePool
	access    *apiAccess // nil: instances do not reach the API
}

// New checks the configuration and prepares clients. It starts nothing and asks the API nothing.
func New(conf Config) (*Controller, error) {
	if conf.REST == nil || conf.Images == nil || conf.Sandboxes == nil || conf.Gateway == nil {
		return nil, errors.New("controller: Config.REST, Images, Sandboxes and Gateway are required")
	}
	if conf.Domain == "" {
		conf.Domain = "localhost"
	}
	if conf.GatewayAddress == "" {
		conf.GatewayAddress = loopback
	}
	if conf.Ports == nil {
		conf.Ports = plainPorts{}
	}
	if conf.Quotas == nil {
		conf.Quotas = quota.New()
	}
	if conf.Logger == nil {
		conf.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{conf: conf, log: conf.Logger, now: time.Now}
	if err := c.connect(); err != nil {
		return nil, err
	}
	first, err := defaultSettings(conf.Domain)
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.config.Store(first)
	if c.capacity, err = c.machine(); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	c.spares = newSparePool(conf.Spares, c.now)
	if conf.Spares == 0 {
		c.spares.most = sparesFor(c.capacity.total.memoryBytes)
	}
	c.spares.busy = c.backlogged
	c.informers, c.listers = newInformers(c.kube, c.serving, c.net)
	c.access = newAPIAccess(c)
	c.wrote = newStatuses()
	c.asked = newViewDemand(c.now)
	c.hashes = newHashes(c.log)
	c.digests = newDigestResolver(c)
	c.boxes = newBoxSet(c)
	c.scalers = newScalerSet(c)
	c.pods = newPodRunner(c)
	c.publisher = newPublisher(c)
	c.metrics = newMetrics(conf.Registerer, c.scalers, c.spares)
	c.spares.count = func(what string) { c.metrics.spares.WithLabelValues(what).Inc() }
	c.makeQueues()
	return c, c.handleEvents()
}

func (c *Controller) connect() error {
	config := rest.CopyConfig(c.conf.REST)
	config.QPS, config.Burst = -1, -1
	config.UserAgent = "fairlead-controller"
	core := rest.CopyConfig(config)
	core.ContentType, core.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	var err error
	if c.kube, err = kubernetes.NewForConfig(core); err != nil {
		return fmt.Errorf("controller: client of the core kinds: %w", err)
	}
	if c.serving, err = servingclient.NewForConfig(config); err != nil {
		return fmt.Errorf("controller: client of the serving kinds: %w", err)
	}
	if c.net, err = netclient.NewForConfig(config); err != nil {
		return fmt.Errorf("controller: client of the networking kinds: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("controller: client of any kind: %w", err)
	}
	return nil
}

// machine is what instances may reserve.
func (c *Controller) machine() (*capacity, error) {
	total := demand{cpuMillis: c.conf.CPUMillis, memoryBytes: c.conf.MemoryBytes}
	if total.cpuMillis == 0 {
		total.cpuMillis = int64(runtime.NumCPU()) * 1000
	}
	if total.memoryBytes == 0 {
		n, err := machineMemory()
		if err != nil {
			return nil, err
		}
		total.memoryBytes = n
	}
	return newCapacity(total), nil
}

func (c *Controller) makeQueues() {
	c.newcomerQueue = newQueue("new service", c.log, c.reconcileNewcomer)
	c.serviceQueue = newQueue("service", c.log, c.reconcileService)
	c.configurationQueue = newQueue("configuration", c.log, c.reconcileConfiguration)
	c.routeQueue = newQueue("route", c.log, c.reconcileRoute)
	c.revisionQueue = newQueue("revision", c.log, c.reconcileRevision)
	c.mappingQueue = newQueue("domainmapping", c.log, c.reconcileMapping)
	c.tableQueue = newQueue("table", c.log, c.reconcileTable)
	c.viewQueue = newQueue("views", c.log, c.reconcileViews)
	c.podQueue = newQueue("pod", c.log, c.reconcilePod)
	c.claimQueue = newQueue("persistentvolumeclaim", c.log, c.reconcileClaim)
	c.publishQueue = newQueue("publish", c.log, c.reconcilePublished)
	c.settingsQueue = newQueue("settings", c.log, c.reconcileSettings)
}

func (c *Controller) queues() map[*queue]int {
	return map[*queue]int{
		c.serviceQueue: 2, c.configurationQueue: 2, c.routeQueue: 2, c.revisionQueue: 4, c.mappingQueue: 1,
		c.tableQueue: 1, c.viewQueue: 2, c.podQueue: 2, c.settingsQueue: 1, c.claimQueue: 1, c.publishQueue: 1,
		c.newcomerQueue: 1,
	}
}

// backlogAt is how many names wait in the queues when they count as a backlog.
const backlogAt = 8

// backlogged tells whether so much waits to be reconciled that what nobody waits for should be put off.
func (c *Controller) backlogged() bool { return c.onTheWay()+c.newcomerQueue.work.Len() >= backlogAt }

// onTheWay is how many names wait in the queues that something goes through on its way to be ready.
func (c *Controller) onTheWay() int {
	n := 0
	for _, q := range []*queue{c.serviceQueue, c.configurationQueue, c.revisionQueue, c.routeQueue, c.tableQueue} {
		n += q.work.Len()
	}
	return n
}

func (c *Controller) settings() *settings { return c.config.Load() }

// Run reconciles until ctx ends. Instances go on running then; they are adopted by the next Run. ready is called when
// the routes that exist are in force.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	var informing, working sync.WaitGroup
	informed, stopInformers := context.WithCancel(context.WithoutCancel(ctx))
	defer informing.Wait()
	defer stopInformers()
	c.broadcaster.StartRecordingToSink(&eventSink{client: c.kube.CoreV1().Events("")})
	defer c.broadcaster.Shutdown()
	c.informers.start(informed, &informing)
	if err := c.informers.wait(ctx); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	if err := c.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("controller: %w", err)
	}
	for q, workers := range c.queues() {
		working.Go(func() { q.run(ctx, workers) })
	}
	if ready != nil {
		ready()
	}
	<-ctx.Done()
	c.asked.end()
	for q := range c.queues() {
		q.stop()
	}
	working.Wait()
	c.digests.jobs.Wait()
	c.scalers.wait()
	c.publisher.close()
	c.pods.wait()
	c.boxes.wait()
	return nil
}

// begin does what has to be there before anything is reconciled.
func (c *Controller) begin(ctx context.Context) error {
	maps, err := c.listers.configMaps.ConfigMaps(systemNamespace).List(labels.Everything())
	if err != nil {
		return err
	}
	for _, m := range maps {
		c.takeSettings(m)
	}
	if err := c.publishGateway(ctx); err != nil {
		return err
	}
	c.scalers.begin(ctx)
	c.pods.begin(ctx)
	c.publisher.ctx = ctx
	c.publishQueue.add(publishKey)
	if err := c.adopt(ctx); err != nil {
		return err
	}
	c.tableQueue.add(tableKey)
	return c.reconcileTable(ctx, tableKey)
}

// takeSettings follows one ConfigMap; one that cannot be read changes nothing.
func (c *Controller) takeSettings(m *corev1.ConfigMap) {
	next, err := c.settings().with(m, c.conf.Domain)
	if err != nil {
		c.log.Error("a configuration stays as it was", "err", err)
		c.events.Eventf(m, corev1.EventTypeWarning, "InvalidConfiguration", "The configuration stays as it was: %v", err)
		return
	}
	c.config.Store(next)
}

// reconcileSettings follows a ConfigMap of knative-serving and has everything looked at again.
func (c *Controller) reconcileSettings(_ context.Context, k key) error {
	m, err := c.listers.configMaps.ConfigMaps(k.Namespace).Get(k.Name)
	if err != nil {
		m = &corev1.ConfigMap{} // gone: the defaults hold
		m.Name, m.Namespace = k.Name, k.Namespace
	}
	before := c.settings()
	c.takeSettings(m)
	if c.settings() != before {
		c.resync()
	}
	return nil
}

// machineMemory reads how much memory the machine has.
func machineMemory() (int64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", "meminfo"))
	if err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	var kib int64
	if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err != nil {
		return 0, fmt.Errorf("memory of the machine: /proc/meminfo: %w", err)
	}
	return kib << 10, nil
}
