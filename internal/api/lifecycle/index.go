package lifecycle

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// node is one object in the index.
type node struct {
	facts
	place
}

// index knows every object of the store by its UID, its place, its owners and its namespace.
type index struct {
	// mu guards everything below; it is held for map work only.
	mu          sync.RWMutex
	nodes       map[types.UID]*node
	places      map[place]types.UID
	dependents  map[types.UID]map[types.UID]bool
	byNamespace map[string]map[types.UID]bool
}

func newIndex() *index {
	x := &index{}
	x.reset()
	return x
}

// reset forgets everything.
func (x *index) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nodes, x.places = map[types.UID]*node{}, map[place]types.UID{}
	x.dependents, x.byNamespace = map[types.UID]map[types.UID]bool{}, map[string]map[types.UID]bool{}
}

// put adds an object or replaces what is known of it, and returns what was known before.
func (x *index) put(p place, f facts) (before *node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if uid, ok := x.places[p]; ok {
		before = x.nodes[uid]
		x.drop(before)
	}
	n := &node{facts: f, place: p}
	x.nodes[f.uid] = n
	x.places[p] = f.uid
	for _, o := range f.owners {
		add(x.dependents, o.uid, f.uid)
	}
	if p.namespace != "" {
		add(x.byNamespace, p.namespace, f.uid)
	}
	return before
}

// remove forgets the object at a place and returns what was known of it.
func (x *index) remove(p place) *node {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.nodes[x.places[p]]
	if n != nil {
		x.drop(n)
	}
	return n
}

// drop takes a node out of every map; mu is held.
func (x *index) drop(n *node) {
	delete(x.nodes, n.uid)
	delete(x.places, n.place)
	for _, o := range n.owners {
		del(x.dependents, o.uid, n.uid)
	}
	if n.namespace != "" {
		del(x.byNamespace, n.namespace, n.uid)
	}
}

func add[K comparable](m map[K]map[types.UID]bool, key K, uid types.UID) {
	if m[key] == nil {
		m[key] = map[types.UID]bool{}
	}
	m[key][uid] = true
}

func del[K comparable](m map[K]map[types.UID]bool, key K, uid types.UID) {
	delete(m[key], uid)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// get gives an object by its UID; nodes are never changed once they are in.
func (x *index) get(uid types.UID) *node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.nodes[uid]
}

// at gives the object at a place.
func (x *index) at(p place) *node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.nodes[x.places[p]]
}

// dependentsOf gives the objects that name uid as an owner.
func (x *index) dependentsOf(uid types.UID) []*node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.collect(x.dependents[uid])
}

// inNamespace gives the objects of a namespace.
func (x *index) inNamespace(name string) []*node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.collect(x.byNamespace[name])
}

// all gives every object.
func (x *index) all() []*node {
	x.mu.RLock()
	defer x.mu.RUnlock()
	nodes := make([]*node, 0, len(x.nodes))
	for _, n := range x.nodes {
		nodes = append(nodes, n)
	}
	return nodes
}

func (x *index) collect(uids map[types.UID]bool) []*node {
	nodes := make([]*node, 0, len(uids))
	for uid := range uids {
		if n := x.nodes[uid]; n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// standing is how the owners of an object are.
type standing struct {
	// solid owners keep it, waiting ones wait for it to go, absent ones do not exist.
	solid, waiting, absent int
}

// standingOf sorts the owners of an object.
func (x *index) standingOf(n *node) standing {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var s standing
	for _, o := range n.owners {
		switch owner := x.nodes[o.uid]; {
		case !x.owns(owner, n):
			s.absent++
		case owner.deleting && owner.foreground:
			s.waiting++
		default:
			s.solid++
		}
	}
	return s
}

// owns says whether owner exists where n may be owned from: in its namespace or in none.
func (x *index) owns(owner, n *node) bool {
	return owner != nil && (owner.namespace == "" || owner.namespace == n.namespace)
}

// keeps says whether an owner still holds n; see standing.
func (x *index) keeps(uid types.UID, n *node) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	owner := x.nodes[uid]
	return x.owns(owner, n) && !(owner.deleting && owner.foreground)
}
