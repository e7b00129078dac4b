package quota

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

// limit is one quota and what is used of it.
type limit struct {
	uid     types.UID
	version uint64 // of the object it was read from
	hard    corev1.ResourceList
	scopes  []corev1.ResourceQuotaScope
	used    corev1.ResourceList
}

// Refusal says that a quota does not allow something, in the words of Kubernetes.
type Refusal struct {
	Object Object
	// Reason begins with "exceeded quota: " or "failed quota: ".
	Reason string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s %q is forbidden: %s", r.Object.Resource, r.Object.Name, r.Reason)
}

// Scopes are those of a quota, from both fields that have them.
func Scopes(spec *corev1.ResourceQuotaSpec) []corev1.ResourceQuotaScope {
	scopes := slices.Clone(spec.Scopes)
	if spec.ScopeSelector != nil {
		for _, e := range spec.ScopeSelector.MatchExpressions {
			scopes = append(scopes, e.ScopeName)
		}
	}
	return scopes
}

// fits tells whether a claim is one of those that the quota's scopes mean.
func (q *limit) fits(c *Claim) bool {
	for _, scope := range q.scopes {
		fits := false
		switch scope {
		case corev1.ResourceQuotaScopeTerminating:
			fits = c.terminating
		case corev1.ResourceQuotaScopeNotTerminating:
			fits = !c.terminating
		case corev1.ResourceQuotaScopeBestEffort:
			fits = c.bestEffort
		case corev1.ResourceQuotaScopeNotBestEffort:
			fits = !c.bestEffort
		}
		if !c.pod || !fits {
			return false
		}
	}
	return true
}

// share is what a claim takes of this quota.
func (q *limit) share(c *Claim) corev1.ResourceList {
	if c == nil || !q.fits(c) {
		return nil
	}
	return quotav1.Mask(c.usage, quotav1.ResourceNames(q.hard))
}

// add charges a claim in place of another; either may be nil.
func (q *limit) add(c, before *Claim) {
	if share := q.share(before); len(share) > 0 {
		q.used = quotav1.SubtractWithNonNegativeResult(q.used, share)
	}
	if share := q.share(c); len(share) > 0 {
		q.used = quotav1.Add(q.used, share)
	}
}

// check refuses what a quota does not allow; before is what the object takes already. The ledger's lock is held.
func (s *space) check(o Object, c, before *Claim) error {
	for _, name := range slices.Sorted(maps.Keys(s.quotas)) {
		q := s.quotas[name]
		if !q.fits(c) {
			continue
		}
		if before == nil {
			if lacking := q.lacking(c); lacking != "" {
				return &Refusal{o, fmt.Sprintf("failed quota: %s: must specify %s", name, lacking)}
			}
		}
		requested := quotav1.RemoveZeros(quotav1.SubtractWithNonNegativeResult(q.share(c), q.share(before)))
		after := quotav1.Mask(quotav1.Add(q.used, requested), quotav1.ResourceNames(requested))
		if ok, exceeded := quotav1.LessThanOrEqual(after, q.hard); !ok {
			return &Refusal{o, fmt.Sprintf("exceeded quota: %s, requested: %s, used: %s, limited: %s", name,
				text(requested, exceeded, nil), text(q.used, exceeded, q.hard), text(q.hard, exceeded, nil))}
		}
	}
	return nil
}

// lacking names what containers have to say and do not.
func (q *limit) lacking(c *Claim) string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(c.lacking)) {
		if _, limited := q.hard[name]; limited {
			containers := slices.Sorted(slices.Values(c.lacking[name]))
			missing = append(missing, fmt.Sprintf("%s for: %s", name, strings.Join(containers, ",")))
		}
	}
	return strings.Join(missing, "; ")
}

// text writes some of a list as name=value. What is not in it is zero, in the form of like.
func text(list corev1.ResourceList, names []corev1.ResourceName, like corev1.ResourceList) string {
	var parts []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		value, ok := list[name]
		if !ok {
			value = zeroLike(like[name])
		}
		parts = append(parts, string(name)+"="+value.String())
	}
	return strings.Join(parts, ",")
}

func zeroLike(q resource.Quantity) resource.Quantity { return *resource.NewQuantity(0, q.Format) }

// SetQuota puts a quota in force, or a changed one in its place; one that is older than what is known changes nothing. It
// gives the resources whose objects were not charged so far: the caller reads them and calls Load for each.
func (l *Ledger) SetQuota(q *corev1.ResourceQuota) []schema.GroupResource {
	l.mu.Lock()
	defer l.mu.Unlock()
	version, err := strconv.ParseUint(q.ResourceVersion, 10, 64)
	if err != nil {
		version = 0
	}
	s := l.space(q.Namespace)
	old := s.quotas[q.Name]
	if old != nil && old.uid == q.UID && old.version > version {
		return nil
	}
	scopes := Scopes(&q.Spec)
	if old != nil && old.uid == q.UID && quotav1.Equals(old.hard, q.Spec.Hard) && slices.Equal(old.scopes, scopes) {
		old.version = version
		return nil
	}
	set := &limit{uid: q.UID, version: version, hard: q.Spec.Hard.DeepCopy(), scopes: scopes, used: corev1.ResourceList{}}
	s.quotas[q.Name] = set
	for _, held := range s.charges {
		set.add(held.claim, nil)
	}
	fresh := s.retrack()
	l.touch(q.Namespace, s, true)
	return fresh
}

// DropQuota takes a quota out of force.
func (l *Ledger) DropQuota(q *corev1.ResourceQuota) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[q.Namespace]
	if s == nil || s.quotas[q.Name] == nil || s.quotas[q.Name].uid != q.UID {
		return
	}
	delete(s.quotas, q.Name)
	s.retrack()
	l.touch(q.Namespace, s, true)
	l.tidy(q.Namespace, s)
}

// retrack tracks what the quotas ask for and nothing else, and gives what it tracks anew.
func (s *space) retrack() []schema.GroupResource {
	wanted := map[schema.GroupResource]bool{}
	for _, q := range s.quotas {
		for name := range q.hard {
			wanted[resourceOf(name)] = true
		}
	}
	var fresh []schema.GroupResource
	for r := range wanted {
		if s.tracked[r] == nil {
			s.tracked[r] = &tracking{loading: true, gone: map[types.UID]bool{}}
			fresh = append(fresh, r)
		}
	}
	maps.DeleteFunc(s.tracked, func(r schema.GroupResource, _ *tracking) bool { return !wanted[r] })
	maps.DeleteFunc(s.charges, func(_ types.UID, c charge) bool { return !c.object.Instance && s.tracked[c.object.Resource] == nil })
	return fresh
}

// resourceOf is the resource whose objects take what a quota calls by this name.
func resourceOf(name corev1.ResourceName) schema.GroupResource {
	if counted, ok := strings.CutPrefix(string(name), countPrefix); ok {
		return schema.ParseGroupResource(counted)
	}
	switch {
	case name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers:
		return schema.GroupResource{Resource: "services"}
	case name == corev1.ResourceRequestsStorage || strings.Contains(string(name), storageClassSuffix):
		return schema.GroupResource{Resource: "persistentvolumeclaims"}
	case slices.Contains(plainCounts(), name):
		return schema.GroupResource{Resource: string(name)}
	}
	return schema.GroupResource{Resource: "pods"}
}

// Load charges the objects of a resource that were there before a quota asked for it.
func (l *Ledger) Load(namespace string, r schema.GroupResource, objects map[Object]*Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.spaces[namespace]
	if s == nil || s.tracked[r] == nil {
		return
	}
	t := s.tracked[r]
	for o, c := range objects {
		if _, known := s.charges[o.UID]; !known && !t.gone[o.UID] && c != nil {
			l.put(s, o, c)
		}
	}
	t.loading, t.gone = false, nil
}

// Unloaded gives the resources of a namespace that still have to be loaded.
func (l *Ledger) Unloaded(namespace string) []schema.GroupResource {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []schema.GroupResource
	if s := l.spaces[namespace]; s != nil {
		for r, t := range s.tracked {
			if t.loading {
				out = append(out, r)
			}
		}
	}
	return out
}
