package controller

import (
	"slices"
	"sync"
	"time"
)

const (
	// refillAtOnce is how many spares are created at the same time on a machine that has nothing more urgent to do.
	refillAtOnce = 2
	// refillSlowly is how long the creation of a spare is put off, and how far one is from the next, while there is something more urgent:
	// a request that waits for an instance, or objects that wait to be looked at.
	refillSlowly = 500 * time.Millisecond
	// refillCalm is how long after the last request that waited the next spare is made: a wake seldom comes alone, and what woke has its first
	// answers to give.
	refillCalm = 100 * time.Millisecond
	// placeKept is how long a revision that was woken keeps its place. One that is back at zero by then needs its spare again; until then nobody
	// else's is made for a place that would be taken back.
	placeKept = 3 * time.Minute
	// spareBytes is what a spare takes of the machine, about.
	spareBytes = 640 << 10
	// sparesShare is the part of the machine's memory that spares may take where no number of them is set.
	sparesShare = 64
	// sparesAtMost is the largest number that is chosen for a machine.
	sparesAtMost = 256
)

// sparesFor is how many spares a machine keeps where no number is set.
func sparesFor(memoryBytes int64) int {
	return int(min(max(memoryBytes/sparesShare/spareBytes, 16), sparesAtMost))
}

// sparePool says which revisions at zero may keep a spare, and when it is made: no more than most at a time, the most recently used
// revisions first, and what is more urgent before. It kicks the scalers when they may, or may no longer.
type sparePool struct {
	most  int
	busy  func() bool // something other than a waiting request is more urgent; nil is never
	now   func() time.Time
	count func(what string) // counts in a metric; nil does not

	mu      sync.Mutex // guards the fields below and those of the claims; nothing is called under it but the clock
	held    map[*spareClaim]bool
	waiting []*spareClaim
	making  int
	urgent  int       // scalers whose requests wait for an instance
	calm    time.Time // when one of them last had its instance
	free    time.Time // since when there has been a place for one that waits; zero if there is none
	timer   *time.Timer
}

// spareClaim is a scaler's part in the pool.
type spareClaim struct {
	kick   chan<- struct{}
	used   time.Time // when the revision last had a use for an instance; zero is never
	since  time.Time // since when it waits
	away   time.Time // since when its spare has been in use; zero if it has one, or none was granted
	state  claimState
	making bool
	urgent bool
}

type claimState int

const (
	claimNone    claimState = iota
	claimWaiting            // asked and not granted
	claimGranted            // may make and keep one
	claimRevoked            // has to give it up: another was used more recently
)

func newSparePool(most int, now func() time.Time) *sparePool {
	return &sparePool{most: most, now: now, held: map[*spareClaim]bool{}}
}

// ask tells whether a spare may be made now. If not, the claim waits, and is kicked when it is time to ask again.
func (p *sparePool) ask(c *spareClaim, used time.Time) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	c.used, c.away = used, time.Time{}
	switch c.state {
	case claimGranted:
		p.mu.Unlock()
		return true
	case claimRevoked:
		p.remove(c)
		fallthrough
	case claimNone:
		c.state, c.since = claimWaiting, p.now()
		p.waiting = append(p.waiting, c)
	}
	never := used.IsZero() && len(p.held) >= p.most // and takes nobody's place
	p.mu.Unlock()
	if never {
		return false
	}
	p.pump()
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.state == claimGranted
}

// hold tells whether a spare that is there may stay. One that was there before this daemon is taken into account by it.
func (p *sparePool) hold(c *spareClaim, used time.Time) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.away = time.Time{}
	switch c.state {
	case claimRevoked:
		return false
	case claimNone, claimWaiting:
		p.remove(c)
		c.state, c.used = claimGranted, used
		p.held[c] = true
	}
	return true
}

// stay keeps the place of a claim whose spare was started, for placeKept at most. A claim that only waited, or whose place another needs, gives up.
func (p *sparePool) stay(c *spareClaim, used time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	now := p.now()
	if c.away.IsZero() {
		c.away = now
	}
	keeps := c.state == claimGranted && now.Sub(c.away) < placeKept
	if keeps {
		c.used = used
	}
	p.mu.Unlock()
	if !keeps {
		p.drop(c)
	}
}

// made says that the making of a spare has ended, well or not.
func (p *sparePool) made(c *spareClaim) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.endMaking(c)
	p.mu.Unlock()
	p.pump()
}

// drop gives up what a claim has or waits for.
func (p *sparePool) drop(c *spareClaim) {
	if p == nil {
		return
	}
	p.mu.Lock()
	none := c.state == claimNone && !c.making
	p.endMaking(c)
	p.remove(c)
	p.mu.Unlock()
	if !none {
		p.pump()
	}
}

// hurry says whether requests of the claim's revision wait for an instance.
func (p *sparePool) hurry(c *spareClaim, urgent bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	change := c.urgent != urgent
	if change && urgent {
		p.urgent++
	} else if change {
		p.urgent--
	}
	c.urgent = urgent
	if change {
		p.calm = p.now()
	}
	p.mu.Unlock()
	if change && !urgent {
		p.pump()
	}
}

func (p *sparePool) endMaking(c *spareClaim) {
	if c.making {
		c.making = false
		p.making--
	}
}

// remove makes a claim none. p.mu is held.
func (p *sparePool) remove(c *spareClaim) {
	switch c.state {
	case claimWaiting:
		p.waiting = slices.DeleteFunc(p.waiting, func(o *spareClaim) bool { return o == c })
	case claimGranted, claimRevoked:
		delete(p.held, c)
	}
	c.state = claimNone
}

// pump grants what may be granted.
func (p *sparePool) pump() {
	busy := p.busy != nil && p.busy()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) > 0 && p.making < refillAtOnce {
		c := p.next()
		if len(p.held) >= p.most {
			p.free = time.Time{}
			p.evict(c)
			return
		}
		if wait := p.pause(busy || p.urgent > 0); wait > 0 {
			p.later(wait)
			return
		}
		p.remove(c)
		c.state, c.making = claimGranted, true
		p.held[c] = true
		p.making++
		p.free = time.Time{}
		p.tell("granted")
		notify(c.kick)
	}
}

// next is the claim whose turn it is: the most recently used, and of these the one that waits longest. p.mu is held.
func (p *sparePool) next() *spareClaim {
	return slices.MinFunc(p.waiting, func(a, b *spareClaim) int {
		if order := b.used.Compare(a.used); order != 0 {
			return order
		}
		return a.since.Compare(b.since)
	})
}

// evict takes the spare of the least recently used revision for one that was used since; one at a time. p.mu is held.
func (p *sparePool) evict(c *spareClaim) {
	var last *spareClaim
	for h := range p.held {
		if h.state == claimRevoked {
			return // its place comes free
		}
		if last == nil || h.used.Before(last.used) {
			last = h
		}
	}
	if last != nil && last.used.Before(c.used) {
		last.state = claimRevoked
		p.tell("evicted")
		notify(last.kick)
	}
}

// pause is how long the next spare has to wait for what is more urgent, or was until just now. p.mu is held.
func (p *sparePool) pause(urgent bool) time.Duration {
	now := p.now()
	if p.free.IsZero() {
		p.free = now
	}
	due := p.free.Add(refillSlowly)
	if calm := p.calm.Add(refillCalm); !urgent && calm.Before(due) {
		due = calm
	}
	return due.Sub(now)
}

// later has the pool looked at again after a while. p.mu is held.
func (p *sparePool) later(d time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.pump)
	} else {
		p.timer.Reset(d)
	}
}

func (p *sparePool) tell(what string) {
	if p.count != nil {
		p.count(what)
	}
}

// numbers are how many revisions keep a spare or make one, and how many wait for one.
func (p *sparePool) numbers() (held, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.held {
		if c.away.IsZero() {
			held++
		}
	}
	return held, len(p.waiting)
}
