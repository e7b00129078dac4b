package quota

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

// Object is what is charged.
type Object struct {
	Namespace string
	Resource  schema.GroupResource
	Name      string
	UID       types.UID
	// Instance marks an instance, which its scaler charges, also where no quota is there yet that would ask for it. Other
	// objects are charged from the moment a quota asks for their resource.
	Instance bool
}

// Ledger keeps the quotas of all namespaces and what is charged to them.
type Ledger struct {
	changed chan struct{}

	mu     sync.Mutex // guards the fields below; taken last, nothing is called under it
	spaces map[string]*space
	dirty  map[string]bool // namespaces whose use has changed since Changed last told
}

// space is what is known of a namespace.
type space struct {
	quotas  map[string]*limit // by name
	charges map[types.UID]charge
	tracked map[schema.GroupResource]*tracking
	waiting map[chan<- struct{}]bool // told, without blocking, when something is given back
}

type charge struct {
	object Object
	claim  *Claim
}

// tracking says that the objects of a resource are charged.
type tracking struct {
	loading bool
	gone    map[types.UID]bool // while loading: what must not come back by it
}

// New makes an empty ledger.
func New() *Ledger {
	return &Ledger{changed: make(chan struct{}, 1), spaces: map[string]*space{}, dirty: map[string]bool{}}
}

// space gives the namespace, made where it is not there. l.mu is held.
func (l *Ledger) space(namespace string) *space {
	s := l.spaces[namespace]
	if s == nil {
		s = &space{
			quotas: map[string]*limit{}, charges: map[types.UID]charge{},
			tracked: map[schema.GroupResource]*tracking{}, waiting: map[chan<- struct{}]bool{},
		}
		l.spaces[namespace] = s
	}
	return s
}

// tidy forgets a namespace of which nothing is to be known. l.mu is held.
func (l *Ledger) tidy(namespace string, s *space) {
	if len(s.quotas)+len(s.charges)+len(s.waiting) == 0 {
		delete(l.spaces, namespace)
	}
}

// touch notes that a namespace has changed: its quotas have another status, and who waits may try again. l.mu is held.
func (l *Ledger) touch(namespace string, s *space, back bool) {
	if back {
		for waiter := range s.waiting {
			notify(waiter)
			delete(s.waiting, waiter)
		}
	}
	if len(s.quotas) > 0 {
		l.dirty[namespace] = true
		notify(l.changed)
	}
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Tracks tells whether a quota asks for the objects of a resource.
func (l *Ledger) Tracks(namespace string, r schema.GroupResource) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[namespace]
	return s != nil && s.tracked[r] != nil
}

// Check says whether Take would be refused, and charges nothing.
func (l *Ledger) Check(o Object, c *Claim, waiter chan<- struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.spaces[o.Namespace]; s != nil && c != nil {
		return s.ask(o, c, waiter)
	}
	return nil
}

// Take charges an object with a claim, in place of the one it had, or gives a [*Refusal]. An object that no quota asks for is not
// charged. Where it is refused, waiter, which is buffered, is told once when something was given back or the quotas have changed;
// nil waits for nothing.
func (l *Ledger) Take(o Object, c *Claim, waiter chan<- struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[o.Namespace]
	if c == nil || s == nil && !o.Instance || s != nil && !o.Instance && s.tracked[o.Resource] == nil {
		return nil
	}
	s = l.space(o.Namespace)
	if err := s.ask(o, c, waiter); err != nil {
		return err
	}
	l.put(s, o, c)
	return nil
}

// ask checks and notes who waits. The ledger's lock is held.
func (s *space) ask(o Object, c *Claim, waiter chan<- struct{}) error {
	err := s.check(o, c, s.charges[o.UID].claim)
	if err != nil && waiter != nil {
		s.waiting[waiter] = true
	}
	return err
}

// Put charges without asking: for what is there already.
func (l *Ledger) Put(o Object, c *Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[o.Namespace]
	if c == nil || !o.Instance && (s == nil || s.tracked[o.Resource] == nil) {
		return
	}
	l.put(l.space(o.Namespace), o, c)
}

func (l *Ledger) put(s *space, o Object, c *Claim) {
	before := s.charges[o.UID].claim
	if before != nil && before.same(c) {
		return
	}
	s.charges[o.UID] = charge{object: o, claim: c}
	for _, q := range s.quotas {
		q.add(c, before)
	}
	l.touch(o.Namespace, s, before != nil)
}

// Drop gives back what an object takes. One that was not charged is no mistake. An instance is given back by its scaler only, not
// by the Pod of the same UID that shows it.
func (l *Ledger) Drop(o Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[o.Namespace]
	if s == nil {
		return
	}
	if t := s.tracked[o.Resource]; t != nil && t.loading && !o.Instance {
		t.gone[o.UID] = true
	}
	held, ok := s.charges[o.UID]
	if !ok || held.object.Instance != o.Instance {
		return
	}
	delete(s.charges, o.UID)
	for _, q := range s.quotas {
		q.add(nil, held.claim)
	}
	l.touch(o.Namespace, s, true)
	l.tidy(o.Namespace, s)
}

// Forget takes a waiter off the list.
func (l *Ledger) Forget(namespace string, waiter chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.spaces[namespace]; s != nil {
		delete(s.waiting, waiter)
		l.tidy(namespace, s)
	}
}

// Changed is told, at most once ahead, that Dirty has something to tell.
func (l *Ledger) Changed() <-chan struct{} { return l.changed }

// Dirty gives the namespaces whose quotas or their use have changed since the last call, in order.
func (l *Ledger) Dirty() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := slices.Sorted(maps.Keys(l.dirty))
	clear(l.dirty)
	return names
}

// Status gives what is to stand in the status of the quotas of a namespace, by their names.
func (l *Ledger) Status(namespace string) map[string]corev1.ResourceQuotaStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]corev1.ResourceQuotaStatus{}
	if s := l.spaces[namespace]; s != nil {
		for name, q := range s.quotas {
			used := quotav1.Mask(q.used, quotav1.ResourceNames(q.hard))
			for name := range q.hard {
				if _, ok := used[name]; !ok {
					used[name] = zeroLike(q.hard[name])
				}
			}
			out[name] = corev1.ResourceQuotaStatus{Hard: q.hard.DeepCopy(), Used: used.DeepCopy()}
		}
	}
	return out
}
