package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
)

const (
	workers  = 4
	pageSize = 1000
	// retryMax is the longest pause before something that went wrong is tried again.
	retryMax = 30 * time.Second
)

// Catalog knows the resources that the API serves.
type Catalog interface {
	// Version gives the version in which a resource is served, and whether it is served at all.
	Version(resource schema.GroupResource) (version string, served bool)
	// IsCore says whether a resource is one of the group without a name.
	IsCore(resource string) bool
}

// Config says what a Keeper works on. All of Etcd, Prefix, Client and Catalog are required.
type Config struct {
	// Etcd is the store, Prefix stands before its keys, such as "/registry".
	Etcd   *clientv3.Client
	Prefix string
	// Client configures the clients that make the changes; it must be allowed everything.
	Client  *rest.Config
	Catalog Catalog
	// Logger and Registerer may be nil.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Keeper follows the store and acts on what it sees.
type Keeper struct {
	cfg      Config
	log      *slog.Logger
	metadata metadata.Interface
	client   kubernetes.Interface
	index    *index
	queue    workqueue.TypedRateLimitingInterface[task]
	deleted  prometheus.Counter
}

// task is something to look at again.
type task struct {
	what work
	// uid is set for dependents and owners, name for namespaces.
	uid  types.UID
	name string
}

type work int

const (
	workDependent work = iota // does this object still have an owner?
	workOwner                 // does this object still wait for its dependents?
	workEmpty                 // is this namespace empty?
	workAccount               // has this namespace its ServiceAccount?
)

// New makes a Keeper. It starts nothing.
func New(cfg Config) (*Keeper, error) {
	if cfg.Etcd == nil || cfg.Client == nil || cfg.Catalog == nil || cfg.Prefix == "" {
		return nil, errors.New("lifecycle: Config.Etcd, Prefix, Client and Catalog are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	meta, err := metadata.NewForConfig(cfg.Client)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: make client: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg.Client)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: make client: %w", err)
	}
	k := &Keeper{cfg: cfg, log: cfg.Logger, metadata: meta, client: client, index: newIndex()}
	k.deleted = prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_api_collected_objects_total", Help: "Objects deleted because their owner or namespace went."})
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(k.deleted)
	}
	return k, nil
}

// Client is the client with which the Keeper makes its changes.
func (k *Keeper) Client() kubernetes.Interface { return k.client }

// Run follows the store until ctx ends. It calls ready when everything that is stored has been seen once.
func (k *Keeper) Run(ctx context.Context, ready func()) error {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[task](5*time.Millisecond, retryMax)
	k.queue = workqueue.NewTypedRateLimitingQueue(limiter)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { k.work(ctx) })
	}
	defer group.Wait()
	defer k.queue.ShutDown()
	ready = sync.OnceFunc(ready)
	for ctx.Err() == nil {
		if err := k.follow(ctx, ready); err != nil && ctx.Err() == nil {
			k.log.Warn("lifecycle follows the store anew", "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// follow reads the whole store and then its changes, until that breaks.
func (k *Keeper) follow(ctx context.Context, ready func()) error {
	k.index.reset()
	revision, err := k.load(ctx)
	if err != nil {
		return err
	}
	for _, n := range k.index.all() {
		k.consider(n)
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for answer := range k.cfg.Etcd.Watch(clientv3.WithRequireLeader(ctx), k.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(revision+1), clientv3.WithFragment()) {
		if err := answer.Err(); err != nil {
			return fmt.Errorf("lifecycle: watch store: %w", err)
		}
		for _, event := range answer.Events {
			k.see(event)
		}
	}
	return errors.New("lifecycle: the store's watch ended")
}

// load reads every object at one revision, which it returns.
func (k *Keeper) load(ctx context.Context) (revision int64, err error) {
	from, end := k.cfg.Prefix+"/", clientv3.GetPrefixRangeEnd(k.cfg.Prefix+"/")
	for {
		page, err := k.cfg.Etcd.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
		if err != nil {
			return 0, fmt.Errorf("lifecycle: read store: %w", err)
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			k.store(string(kv.Key), kv.Value)
		}
		if !page.More {
			return revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// store puts a stored value into the index and returns it with what was known before.
func (k *Keeper) store(key string, value []byte) (now, before *node) {
	p, ok := k.place(key)
	if !ok {
		return nil, nil
	}
	f, err := decode(value)
	if err != nil {
		k.log.Warn("lifecycle cannot read an object", "key", key, "err", err)
		return nil, nil
	}
	before = k.index.put(p, f)
	return k.index.get(f.uid), before
}

// place is where a key's object is; events are not followed, because they own nothing and go by themselves.
func (k *Keeper) place(key string) (place, bool) {
	p, ok := parseKey(key, k.cfg.Prefix, k.cfg.Catalog.IsCore)
	return p, ok && !(p.group == "" && p.resource == "events")
}

// see takes in one change.
func (k *Keeper) see(event *clientv3.Event) {
	if event.Type == clientv3.EventTypeDelete {
		if p, ok := k.place(string(event.Kv.Key)); ok {
			if n := k.index.remove(p); n != nil {
				k.gone(n)
			}
		}
		return
	}
	now, before := k.store(string(event.Kv.Key), event.Kv.Value)
	if now == nil {
		return
	}
	k.consider(now)
	if before != nil {
		// An owner that waits may have waited for a reference that is no longer there.
		k.wakeOwners(before)
		if before.uid != now.uid {
			k.gone(before)
		}
	}
}

// consider queues what an object's state asks for.
func (k *Keeper) consider(n *node) {
	if len(n.owners) > 0 {
		if s := k.index.standingOf(n); s.absent+s.waiting > 0 {
			k.queue.Add(task{what: workDependent, uid: n.uid})
		}
	}
	if n.deleting && (n.foreground || n.orphan) {
		k.queue.Add(task{what: workOwner, uid: n.uid})
	}
	if n.group == "" && n.resource == "namespaces" {
		what := workAccount
		if n.deleting {
			what = workEmpty
		}
		k.queue.Add(task{what: what, name: n.name})
	}
}

// gone queues what the end of an object asks for.
func (k *Keeper) gone(n *node) {
	for _, d := range k.index.dependentsOf(n.uid) {
		k.queue.Add(task{what: workDependent, uid: d.uid})
	}
	k.wakeOwners(n)
	if n.namespace == "" {
		return
	}
	if space := k.index.at(place{resource: "namespaces", name: n.namespace}); space != nil {
		k.consider(space)
	}
}

func (k *Keeper) wakeOwners(n *node) {
	for _, o := range n.owners {
		if owner := k.index.get(o.uid); owner != nil && owner.deleting && owner.foreground {
			k.queue.Add(task{what: workOwner, uid: o.uid})
		}
	}
}

// work does tasks until the queue is shut down.
func (k *Keeper) work(ctx context.Context) {
	for {
		t, stop := k.queue.Get()
		if stop {
			return
		}
		err := k.do(ctx, t)
		k.queue.Done(t)
		switch {
		case err == nil:
			k.queue.Forget(t)
		case ctx.Err() == nil:
			k.log.Debug("lifecycle tries again", "err", err)
			k.queue.AddRateLimited(t)
		}
	}
}

func (k *Keeper) do(ctx context.Context, t task) error {
	switch t.what {
	case workDependent:
		return k.checkDependent(ctx, t.uid)
	case workOwner:
		return k.checkOwner(ctx, t.uid)
	case workEmpty:
		return k.emptyNamespace(ctx, t.name)
	case workAccount:
		return k.ensureAccount(ctx, t.name)
	}
	return nil
}
