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
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	plain "k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead-dev/fairlead/internal/api/kinds"
	"github.com/fairlead-dev/fairlead/internal/api/quotas"
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
	// quotas counts what is written.
	quotas *quotas.Keeper
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
	stored := kinds.StoredAs(resource)
	prefix := "/" + stored.Resource
	if stored.Group != "" {
		prefix = "/" + stored.Group + "/" + stored.Resource
	}
	config := storagebackend.NewDefaultConfig(keyPrefix, b.codec(resource))
	return generic.RESTOptions{
		StorageConfig:           config.ForResource(resource),
		Decorator:               b.open,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 4,
		ResourcePrefix:          prefix,
	}, nil
}

// open opens a resource's storage. There is no watch cache before it: that would hold every object once more, decoded, and the
// versions of the last minutes besides, for the sake of thousands of watches; here are dozens. See docs/adr/0014-no-watch-cache.md.
func (b *backend) open(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error), newObject, newList func() runtime.Object,
	_ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	raw, err := etcd3.New(b.client, nil, config.Codec, newObject, newList, config.Prefix, prefix, config.GroupResource,
		plain.NewEncryptCheckTransformer(), config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, fmt.Errorf("api: open storage of %s: %w", config.GroupResource, err)
	}
	return told{b.quotas.Wrap(apart{raw, config.GroupResource.String()}, config.GroupResource)}, sync.OnceFunc(raw.Close), nil
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

// apart gives each resource a watch stream of its own on the shared connection, so that a busy one does not hold up the others. etcd's
// notes of progress, which the store has it send every minute, become the bookmarks of watches that want some.
type apart struct {
	storage.Interface
	resource string
}

func (a apart) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	options.ProgressNotify = options.Predicate.AllowWatchBookmarks
	return a.Interface.Watch(metadata.AppendToOutgoingContext(ctx, "resource", a.resource), key, options)
}

func (a apart) RequestWatchProgress(ctx context.Context) error {
	return a.Interface.RequestWatchProgress(metadata.AppendToOutgoingContext(ctx, "resource", a.resource))
}
