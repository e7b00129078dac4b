package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	plain "k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const (
	// keyPrefix stands before every key in etcd.
	keyPrefix   = "/registry"
	dialTimeout = 10 * time.Second
)

// backend opens storage for resources over one etcd connection; upstream's factory would open one per resource.
type backend struct {
	client *kubernetes.Client
	// codec gives the codec in which a resource is stored.
	codec func(schema.GroupResource) runtime.Codec
}

func dialStore(endpoint string) (*kubernetes.Client, error) {
	client, err := kubernetes.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialTimeout: dialTimeout,
		DialOptions: []grpc.DialOption{grpc.WithBlock()}, //nolint:staticcheck // a store that does not answer is an error now
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("api: dial store %s: %w", endpoint, err)
	}
	client.KV = etcd3.NewETCDLatencyTracker(client.KV)
	return client, nil
}

// GetRESTOptions says how one resource is stored.
func (b *backend) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	prefix := "/" + resource.Resource
	if resource.Group != "" {
		prefix = "/" + resource.Group + "/" + resource.Resource
	}
	config := storagebackend.NewDefaultConfig(keyPrefix, b.codec(resource))
	cached := resource != schema.GroupResource{Resource: "events"}
	return generic.RESTOptions{
		StorageConfig:           config.ForResource(resource),
		Decorator:               b.decorator(cached),
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 4,
		ResourcePrefix:          prefix,
	}, nil
}

// decorator opens a resource's storage, with upstream's watch cache before it where that is wanted.
func (b *backend) decorator(cached bool) generic.StorageDecorator {
	return func(config *storagebackend.ConfigForResource, prefix string, key func(runtime.Object) (string, error), newObject, newList func() runtime.Object,
		attributes storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
		versioner := storage.APIObjectVersioner{}
		raw, err := etcd3.New(b.client, nil, config.Codec, newObject, newList, config.Prefix, prefix, config.GroupResource,
			plain.NewEncryptCheckTransformer(), config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
		if err != nil {
			return nil, nil, fmt.Errorf("api: open storage of %s: %w", config.GroupResource, err)
		}
		apart := apart{raw, config.GroupResource.String()}
		if !cached {
			return told{apart}, sync.OnceFunc(raw.Close), nil
		}
		front, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage: apart, Versioner: versioner, GroupResource: config.GroupResource, EventsHistoryWindow: config.EventsHistoryWindow,
			ResourcePrefix: prefix, KeyFunc: key, NewFunc: newObject, NewListFunc: newList, GetAttrsFunc: attributes,
			IndexerFuncs: triggers, Indexers: indexers, Codec: config.Codec,
		})
		if err != nil {
			raw.Close()
			return nil, nil, fmt.Errorf("api: open watch cache of %s: %w", config.GroupResource, err)
		}
		delegator := cacher.NewCacheDelegator(front, apart)
		return told{awaited{delegator, front}}, sync.OnceFunc(func() { delegator.Stop(); front.Stop(); raw.Close() }), nil
	}
}

// customCodec stores custom resources, as upstream does, in JSON.
func customCodec(schema.GroupResource) runtime.Codec { return unstructured.UnstructuredJSONScheme }

// told makes the store's refusals understandable to the client that gets them.
type told struct{ storage.Interface }

func (t told) Create(ctx context.Context, key string, object, out runtime.Object, ttl uint64) error {
	return tell(t.Interface.Create(ctx, key, object, out, ttl))
}

func (t told) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	return tell(t.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, update, cached))
}

// awaited lets the first watches of a resource wait until its watch cache is filled, which takes a few milliseconds. Upstream answers
// them with 429 and a Retry-After of a second, to protect a store that is shared with others.
type awaited struct {
	storage.Interface
	front *cacher.Cacher
}

// cacheWait is how long a watch waits for its cache; after it upstream's own answer is given.
const cacheWait = 5 * time.Second

func (a awaited) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	if !a.front.Ready() {
		waiting, cancel := context.WithTimeout(ctx, cacheWait)
		_ = a.front.Wait(waiting) // Watch tells what is wrong
		cancel()
	}
	return a.Interface.Watch(ctx, key, options)
}

// apart gives each resource a watch stream of its own on the shared connection. On a common stream, a watch that was opened
// at the present revision would keep etcd from telling the others that they are up to date.
type apart struct {
	storage.Interface
	resource string
}

func (a apart) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	return a.Interface.Watch(metadata.AppendToOutgoingContext(ctx, "resource", a.resource), key, options)
}

func (a apart) RequestWatchProgress(ctx context.Context) error {
	return a.Interface.RequestWatchProgress(metadata.AppendToOutgoingContext(ctx, "resource", a.resource))
}
