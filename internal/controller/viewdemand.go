package controller

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/reconciler/revision/resources/names"
	anames "knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"
)

const (
	// showWithin is how long a request waits for the views it asks for.
	showWithin = 10 * time.Second
	// showFor is how long views follow what they show after they were last asked for.
	showFor = 10 * time.Minute
	// sweepEvery is how often requests are forgotten that were made too long ago.
	sweepEvery = time.Minute
	// hashedName is the least length of the name of a view whose revision cannot be told from it.
	hashedName = 50
)

// ViewQuery says which views somebody asks for: those of one name, or all that a selector finds.
type ViewQuery struct {
	Namespace, Name string
	Selector        labels.Selector
}

// viewDemand knows for which revisions the views are written: for those that somebody has asked for lately. Views are most of what there is
// to write about a revision, and of nearly all revisions nobody ever reads them.
type viewDemand struct {
	now func() time.Time

	mu    sync.Mutex      // guards the fields below
	named map[string]*ask // by namespace and name of a view
	wide  map[string]*ask // by namespace and selector
	swept time.Time
	// shown are the revisions whose views are all written, and follow.
	shown   map[key]bool
	waiters map[key][]*waiter
	ended   bool
}

// ask is what was asked for, by one or many.
type ask struct {
	namespace string
	selector  labels.Selector
	open      int // requests that have not been answered to the end
	until     time.Time
}

func (a *ask) holds(now time.Time) bool { return a.open > 0 || now.Before(a.until) }

// waiter is a request that waits for the views of some revisions.
type waiter struct {
	left int
	done chan struct{}
}

func newViewDemand(now func() time.Time) *viewDemand {
	return &viewDemand{now: now, named: map[string]*ask{}, wide: map[string]*ask{}, shown: map[key]bool{}, waiters: map[key][]*waiter{}}
}

// ask notes that views are asked for until done is called, and for a while after.
func (d *viewDemand) ask(q ViewQuery) (done func()) {
	asks, id := d.named, indexKey(q.Namespace, q.Name)
	if q.Name == "" {
		asks, id = d.wide, indexKey(q.Namespace, q.Selector.String())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	one := asks[id]
	if one == nil {
		one = &ask{namespace: q.Namespace, selector: q.Selector}
		asks[id] = one
	}
	one.open++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		one.open--
		one.until = d.now().Add(showFor)
	}
}

// sweep forgets what was asked too long ago. d.mu is held.
func (d *viewDemand) sweep() {
	now := d.now()
	if now.Sub(d.swept) < sweepEvery {
		return
	}
	d.swept = now
	for _, asks := range []map[string]*ask{d.named, d.wide} {
		for id, one := range asks {
			if !one.holds(now) {
				delete(asks, id)
			}
		}
	}
}

// wants tells whether the views of a revision are asked for. If not, they will be behind what they show.
func (d *viewDemand) wants(rev *v1.Revision) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, name := range viewNames(rev) {
		if one := d.named[indexKey(rev.Namespace, name)]; one != nil && one.holds(now) {
			return true
		}
	}
	for _, one := range d.wide {
		if one.holds(now) && (one.namespace == "" || one.namespace == rev.Namespace) && mayFind(one.selector, rev) {
			return true
		}
	}
	delete(d.shown, key{Namespace: rev.Namespace, Name: rev.Name})
	return false
}

// wait returns when the views of revisions have been looked at, and written if there are some yet, or when ctx ends. Each that has to be
// looked at is given to look.
func (d *viewDemand) wait(ctx context.Context, revisions []*v1.Revision, look func(key)) {
	w := &waiter{done: make(chan struct{})}
	var behind []key
	d.mu.Lock()
	for _, rev := range revisions {
		k := key{Namespace: rev.Namespace, Name: rev.Name}
		if d.shown[k] || d.ended {
			continue
		}
		behind = append(behind, k)
		d.waiters[k] = append(d.waiters[k], w)
	}
	w.left = len(behind)
	d.mu.Unlock()
	if len(behind) == 0 {
		return
	}
	for _, k := range behind {
		look(k)
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// awaited tells whether a request waits for the views of a revision.
func (d *viewDemand) awaited(k key) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiters[k]) > 0
}

// looked says that the views of a revision have been looked at, and whether all of them are written.
func (d *viewDemand) looked(k key, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all {
		d.shown[k] = true
	} else {
		delete(d.shown, k)
	}
	d.release(k)
}

// release lets go whoever waits for a revision. d.mu is held.
func (d *viewDemand) release(k key) {
	for _, w := range d.waiters[k] {
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	delete(d.waiters, k)
}

// end lets go everybody: nothing is written any more.
func (d *viewDemand) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for k := range d.waiters {
		d.release(k)
	}
}

// viewNames are the names that views of a revision have.
func viewNames(rev *v1.Revision) [3]string {
	return [3]string{rev.Name, anames.PrivateService(rev.Name), names.Deployment(rev)}
}

// mayFind tells whether a selector may find views of a revision; it is sure of the labels that they have from it.
func mayFind(selector labels.Selector, rev *v1.Revision) bool {
	requirements, selectable := selector.Requirements()
	if !selectable {
		return false
	}
	own := labels.Set(revisionLabels(rev))
	for i := range requirements {
		r := &requirements[i]
		if strings.HasPrefix(r.Key(), "serving.knative.dev/") && !r.Matches(own) {
			return false
		}
	}
	return true
}

// Show has the views written that somebody asks for, and returns when they are, or after some seconds: the controller is busy then, and goes on
// writing them. The function it gives is called when nobody looks at the answer any more; the views follow what they show until some minutes
// after that.
func (c *Controller) Show(ctx context.Context, q ViewQuery) (done func()) {
	ctx, cancel := context.WithTimeout(ctx, showWithin)
	defer cancel()
	if q.Namespace == "" {
		q.Name = "" // of any namespace
	}
	done = c.asked.ask(q)
	c.asked.wait(ctx, c.viewed(q), c.viewQueue.add)
	return done
}

// viewed are the revisions whose views a query may find.
func (c *Controller) viewed(q ViewQuery) []*v1.Revision {
	lister := c.listers.revisions.Revisions(q.Namespace)
	if q.Name != "" {
		for _, suffix := range []string{"", "-private", "-deployment"} {
			name, has := strings.CutSuffix(q.Name, suffix)
			if rev, err := lister.Get(name); has && err == nil {
				return []*v1.Revision{rev}
			}
		}
		if len(q.Name) < hashedName {
			return nil
		}
	}
	all, err := lister.List(labels.Everything())
	if err != nil {
		return nil
	}
	var found []*v1.Revision
	for _, rev := range all {
		views := viewNames(rev)
		if q.Name == "" && mayFind(q.Selector, rev) || slices.Contains(views[1:], q.Name) {
			found = append(found, rev)
		}
	}
	return found
}
