package quotas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api/lifecycle"
	"github.com/fairlead-dev/fairlead/internal/quota"
)

// Config says what a Keeper works on. All but Logger are required.
type Config struct {
	Ledger *quota.Ledger
	// Etcd is the store, Prefix stands before its keys, such as "/registry".
	Etcd   *clientv3.Client
	Prefix string
	// Codec reads what is stored of the core kinds.
	Codec  runtime.Codec
	Logger *slog.Logger
}

// Keeper keeps the ledger as the store is.
type Keeper struct {
	cfg Config
	log *slog.Logger
}

// New makes a Keeper. It reads nothing.
func New(cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, log: cfg.Logger}
}

// pageSize is how many objects are read from the store at once.
const pageSize = 500

// quotaResource is the resource of the quotas themselves.
var quotaResource = schema.GroupResource{Resource: "resourcequotas"} //nolint:gochecknoglobals // a name

// Begin puts the quotas that are stored in force. It has to be done before anything is served.
func (k *Keeper) Begin(ctx context.Context) error {
	var all []*corev1.ResourceQuota
	err := k.read(ctx, k.cfg.Prefix+"/resourcequotas/", func(kv []byte, version int64) error {
		object, err := runtime.Decode(k.cfg.Codec, kv)
		if err != nil {
			return fmt.Errorf("api: read a stored quota: %w", err)
		}
		q, ok := object.(*corev1.ResourceQuota)
		if !ok {
			return fmt.Errorf("api: read a stored quota: it is a %T", object)
		}
		q.ResourceVersion = fmt.Sprint(version)
		all = append(all, q)
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range all {
		for _, r := range k.cfg.Ledger.SetQuota(q) {
			if err := k.load(ctx, q.Namespace, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow puts a quota that was written in force. What cannot be read now is read again by Run.
func (k *Keeper) follow(ctx context.Context, q *corev1.ResourceQuota) {
	ctx = context.WithoutCancel(ctx) // the quota is written, whatever becomes of the request
	for _, r := range k.cfg.Ledger.SetQuota(q) {
		if err := k.load(ctx, q.Namespace, r); err != nil {
			k.log.Warn("what a quota limits is not counted yet", "namespace", q.Namespace, "quota", q.Name, "err", err)
		}
	}
}

// load charges the stored objects of a resource.
func (k *Keeper) load(ctx context.Context, namespace string, r schema.GroupResource) error {
	prefix := k.cfg.Prefix + "/" + r.Resource + "/" + namespace + "/"
	if r.Group != "" {
		prefix = k.cfg.Prefix + "/" + r.Group + "/" + r.Resource + "/" + namespace + "/"
	}
	found := map[quota.Object]*quota.Claim{}
	err := k.read(ctx, prefix, func(value []byte, _ int64) error {
		o, c, err := k.claimOf(r, value)
		o.Namespace = namespace
		if err == nil && c != nil {
			found[o] = c
		}
		return err
	})
	if err != nil {
		return err
	}
	k.cfg.Ledger.Load(namespace, r, found)
	return nil
}

// claimOf measures a stored object. Of those that are only counted no more than the UID is read.
func (k *Keeper) claimOf(r schema.GroupResource, value []byte) (quota.Object, *quota.Claim, error) {
	o := quota.Object{Resource: r}
	if !measured(r) {
		uid, err := lifecycle.ReadUID(value)
		o.UID = uid
		return o, quota.OfCount(r), err
	}
	object, err := runtime.Decode(k.cfg.Codec, value)
	if err != nil {
		return o, nil, fmt.Errorf("api: read a stored object of %s: %w", r, err)
	}
	m, ok := object.(metav1.Object)
	if !ok {
		return o, nil, fmt.Errorf("api: a stored object of %s is a %T", r, object)
	}
	o.UID, o.Name = m.GetUID(), m.GetName()
	return o, measure(r, object), nil
}

// read gives every stored value below a prefix, with the version it was written in.
func (k *Keeper) read(ctx context.Context, prefix string, value func(value []byte, version int64) error) error {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		page, err := k.cfg.Etcd.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
		if err != nil {
			return fmt.Errorf("api: read %s from the store: %w", prefix, err)
		}
		for _, kv := range page.Kvs {
			if err := value(kv.Value, kv.ModRevision); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

const (
	// writeAfter is how long the status of quotas waits for further changes, and tryAfter how long after a failure.
	writeAfter = 100 * time.Millisecond
	tryAfter   = time.Second
)

// Run writes what is used into the status of the quotas until ctx ends.
func (k *Keeper) Run(ctx context.Context, client kubernetes.Interface) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.cfg.Ledger.Changed():
		}
		pause := writeAfter
		for failed := k.cfg.Ledger.Dirty(); len(failed) > 0; {
			if !rest(ctx, pause) {
				return
			}
			failed = k.writeAll(ctx, client, append(failed, k.cfg.Ledger.Dirty()...))
			pause = tryAfter
		}
	}
}

// rest waits; it is false where ctx has ended meanwhile.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// writeAll writes the status of the quotas of some namespaces and gives those that are to be tried again.
func (k *Keeper) writeAll(ctx context.Context, client kubernetes.Interface, namespaces []string) (failed []string) {
	for _, namespace := range namespaces {
		err := k.write(ctx, client, namespace)
		if err != nil && ctx.Err() == nil {
			k.log.Debug("the status of quotas is written again", "namespace", namespace, "err", err)
			failed = append(failed, namespace)
		}
	}
	return failed
}

func (k *Keeper) write(ctx context.Context, client kubernetes.Interface, namespace string) error {
	var errs []error
	for _, r := range k.cfg.Ledger.Unloaded(namespace) {
		errs = append(errs, k.load(ctx, namespace, r))
	}
	for name, status := range k.cfg.Ledger.Status(namespace) {
		q, err := client.CoreV1().ResourceQuotas(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err == nil && !equality.Semantic.DeepEqual(q.Status, status) {
			q.Status = status
			_, err = client.CoreV1().ResourceQuotas(namespace).UpdateStatus(ctx, q, metav1.UpdateOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("api: status of quota %s/%s: %w", namespace, name, err))
		}
	}
	return errors.Join(errs...)
}
