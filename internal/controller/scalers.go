package controller

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// scalerSet holds the scalers. Looking one up takes no lock.
type scalerSet struct {
	c       *Controller
	ctx     atomic.Pointer[context.Context] // of Run, from begin on
	running sync.WaitGroup
	byName  sync.Map // backend name to *scaler

	mu      sync.Mutex // guards adding, and orphans
	orphans map[string][]adopted
}

func newScalerSet(c *Controller) *scalerSet {
	return &scalerSet{c: c, orphans: map[string][]adopted{}}
}

func (s *scalerSet) begin(ctx context.Context) { s.ctx.Store(&ctx) }

func (s *scalerSet) wait() { s.running.Wait() }

func (s *scalerSet) get(backend string) *scaler {
	if found, ok := s.byName.Load(backend); ok {
		return found.(*scaler) //nolint:forcetypeassert // only scalers are stored
	}
	return nil
}

// plan hands a plan to the revision's scaler, which is started if there is none, and gives what it says of itself;
// nil is nothing yet. The scaler of an earlier revision of the same name has to quit first: the revision is queued again then.
func (s *scalerSet) plan(p *plan) *scaleState {
	k := key{Namespace: p.revision.Namespace, Name: p.revision.Name}
	backend := backendName(k.Namespace, k.Name)
	one := s.get(backend)
	if one == nil {
		one = s.start(k, p)
		if one == nil {
			return nil
		}
	}
	if one.planned.Load().revision.UID != p.revision.UID {
		one.retire()
	}
	if one.retired.Load() {
		return nil
	}
	if old := one.planned.Load(); old == nil || !samePlan(old, p) {
		one.setPlan(p)
	}
	return one.seen.Load()
}

// start makes the scaler of a revision, with the instances an earlier daemon left to it.
func (s *scalerSet) start(k key, p *plan) *scaler {
	s.mu.Lock()
	defer s.mu.Unlock()
	backend := backendName(k.Namespace, k.Name)
	if one := s.get(backend); one != nil {
		return one
	}
	running := s.ctx.Load()
	if running == nil || (*running).Err() != nil {
		return nil
	}
	one := &scaler{
		key: k, backend: backend,
		kick: make(chan struct{}, 1), woken: make(chan struct{}, 1), events: make(chan event, 16), ended: make(chan struct{}),
		router: s.c.conf.Gateway, maker: s.c.boxes, capacity: s.c.capacity, quotas: s.c.conf.Quotas, spares: s.c.spares,
		changed: s.c.revisionQueue.addAfter, report: s.c.tell, log: s.c.log, now: s.c.now,
	}
	one.quit = func() { s.quit(one) }
	one.planned.Store(p)
	if one.router.Stats(backend).Waiting > 0 {
		one.wake() // nobody was there when they asked
	}
	for _, a := range s.orphans[backend] {
		if a.uid == string(p.revision.UID) {
			one.adopt(a.identity, a.box, a.box.instance.State(), a.version)
		} else {
			s.c.boxes.discard(*running, a.box)
		}
	}
	delete(s.orphans, backend)
	s.byName.Store(backend, one)
	s.running.Go(func() {
		one.run(*running)
		s.quit(one)
	})
	return one
}

// quit makes room for another scaler of the same name, which there may be a revision for already.
func (s *scalerSet) quit(one *scaler) {
	if s.byName.CompareAndDelete(one.backend, one) && one.retired.Load() {
		s.c.revisionQueue.add(one.key)
	}
}

// retire stops the instances of a revision that is gone.
func (s *scalerSet) retire(k key) {
	if one := s.get(backendName(k.Namespace, k.Name)); one != nil {
		one.retire()
	}
}

// Wake asks the scaler of a backend for an instance. It neither blocks nor asks the API; package gateway calls it when requests
// begin to wait. A backend nobody knows is ignored.
func (c *Controller) Wake(backend string) {
	c.metrics.wakes.Inc()
	if one := c.scalers.get(backend); one != nil {
		one.wake()
	}
}

// samePlan tells whether a new plan changes anything for the scaler. Statuses change often, and do not.
func samePlan(a, b *plan) bool {
	return a.spec == b.spec && a.deadline == b.deadline && a.freeze == b.freeze && a.spare == b.spare && a.version == b.version &&
		a.needs == b.needs && a.revision.UID == b.revision.UID
}

// versionOf names everything an instance is made of: the pod template and the data it refers to.
func (c *Controller) versionOf(rev *v1.Revision, p *plan) string {
	h := fnv.New128a()
	fmt.Fprintf(h, "%s %v", rev.UID, p.digests)
	refer := func(kind, name string, m metav1.Object, err error) {
		if err == nil {
			fmt.Fprintf(h, " %s %s %s", kind, name, m.GetResourceVersion())
		}
	}
	for name := range referred(&rev.Spec.PodSpec) {
		m, err := c.listers.configMaps.ConfigMaps(rev.Namespace).Get(name)
		refer("configmap", name, m, err)
		s, err := c.listers.secrets.Secrets(rev.Namespace).Get(name)
		refer("secret", name, s, err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// referred are the names of the ConfigMaps and Secrets that a pod refers to, in order.
func referred(pod *corev1.PodSpec) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		one := func(name string) bool {
			if name == "" || seen[name] {
				return true
			}
			seen[name] = true
			return yield(name)
		}
		for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
			for i := range list {
				if !referredByContainer(&list[i], one) {
					return
				}
			}
		}
		for i := range pod.Volumes {
			if !referredByVolume(&pod.Volumes[i], one) {
				return
			}
		}
	}
}

func referredByContainer(c *corev1.Container, one func(string) bool) bool {
	for i := range c.EnvFrom {
		if r := c.EnvFrom[i].ConfigMapRef; r != nil && !one(r.Name) {
			return false
		}
		if r := c.EnvFrom[i].SecretRef; r != nil && !one(r.Name) {
			return false
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if r := from.ConfigMapKeyRef; r != nil && !one(r.Name) {
			return false
		}
		if r := from.SecretKeyRef; r != nil && !one(r.Name) {
			return false
		}
	}
	return true
}

func referredByVolume(v *corev1.Volume, one func(string) bool) bool {
	if v.ConfigMap != nil && !one(v.ConfigMap.Name) || v.Secret != nil && !one(v.Secret.SecretName) {
		return false
	}
	if v.PersistentVolumeClaim != nil && !one(v.PersistentVolumeClaim.ClaimName) {
		return false
	}
	if v.Projected == nil {
		return true
	}
	for _, s := range v.Projected.Sources {
		if s.ConfigMap != nil && !one(s.ConfigMap.Name) || s.Secret != nil && !one(s.Secret.Name) {
			return false
		}
	}
	return true
}
