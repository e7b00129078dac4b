package sandbox

import (
	"cmp"
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

type probeKind string

const (
	startupProbe   probeKind = "startup"
	readinessProbe probeKind = "readiness"
	livenessProbe  probeKind = "liveness"
)

// Fast readiness probing, where Probe.Period is zero.
const (
	fastFirst  = 250 * time.Microsecond
	fastMax    = 25 * time.Millisecond
	slowPeriod = 10 * time.Second
	// fastTimeout bounds one of the fast tries, so that an app that accepts but does not answer yet is asked again.
	fastTimeout = time.Second
)

// probeResult is what a prober tells the owner: its thresholds were reached, or it has looked where the program listens.
type probeResult struct {
	container string
	run       int
	kind      probeKind
	err       error // nil: success
	looked    bool  // what counts is elsewhere
	elsewhere *Elsewhere
}

// probes are the running probers of one run of a container.
type probes struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// beginProbes starts what a fresh run is asked first.
func (l *life) beginProbes(c *run) {
	c.elsewhere = nil
	c.started = c.spec.Startup == nil
	c.ready = c.started && c.spec.Readiness == nil
	l.probe(c, false)
}

// resumeProbes goes on asking after a freeze, without the initial delay.
func (l *life) resumeProbes() {
	for _, c := range l.all() {
		if c.phase == ContainerRunning {
			l.probe(c, true)
		}
	}
}

func (l *life) probe(c *run, again bool) {
	l.endProbes(c)
	ctx, cancel := context.WithCancel(context.Background())
	c.probes = &probes{cancel: cancel}
	name, number, ready := c.spec.Name, c.number, again && c.ready
	begin := func(kind probeKind, p *Probe) {
		if p == nil {
			return
		}
		q := *p
		if again {
			q.InitialDelay = 0
		}
		c.probes.wg.Go(func() { l.i.runProbe(ctx, name, number, kind, q, ready) })
	}
	if !c.started {
		begin(startupProbe, c.spec.Startup)
		return
	}
	begin(readinessProbe, c.spec.Readiness)
	begin(livenessProbe, c.spec.Liveness)
}

// endProbes ends the probers of a container and waits for them. A result they were about to tell is not told.
func (l *life) endProbes(c *run) {
	if c.probes == nil {
		return
	}
	c.probes.cancel()
	c.probes.wg.Wait()
	c.probes = nil
}

func (l *life) stopProbes() {
	for _, c := range l.all() {
		l.endProbes(c)
	}
}

// runProbe asks until ctx ends and tells the owner every time a threshold turns the answer.
func (i *Instance) runProbe(ctx context.Context, container string, run int, kind probeKind, p Probe, wasReady bool) {
	fast := kind == readinessProbe && p.Period == 0 && !wasReady
	period := cmp.Or(p.Period, slowPeriod)
	delay := p.InitialDelay
	if kind == livenessProbe && !wasReady {
		delay = max(delay, period) // a program that has just been started is not yet dead, as a kubelet sees it too
	}
	if !wait(ctx, delay) {
		return
	}
	var lookout *lookout
	if kind != livenessProbe && !wasReady {
		lookout = newLookout(&p, time.Now())
	}
	interval := fastFirst
	good, bad, told, tellOnce := 0, 0, 0, kind == livenessProbe
	if wasReady {
		told = 1
		if !wait(ctx, period) {
			return
		}
	}
	for {
		q := p
		if fast && q.Timeout <= 0 {
			q.Timeout = fastTimeout
		}
		err := q.check(ctx, i, container)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad, lookout = good+1, 0, nil
		} else {
			good, bad = 0, bad+1
			if !i.look(ctx, lookout, probeResult{container: container, run: run, kind: kind}) {
				return
			}
		}
		switch {
		case good >= max(1, p.SuccessThreshold) && told <= 0 && !tellOnce:
			told, fast = 1, false
			if !i.tell(ctx, probeResult{container: container, run: run, kind: kind}) || kind == startupProbe {
				return
			}
		case bad >= max(1, cmp.Or(p.FailureThreshold, 3)) && told >= 0 && !fast:
			told = -1
			if !i.tell(ctx, probeResult{container: container, run: run, kind: kind, err: err}) || kind != readinessProbe {
				return
			}
		}
		next := period
		if fast {
			next = interval
			interval = min(interval*5/4, fastMax)
		}
		if !wait(ctx, next) {
			return
		}
	}
}

func (i *Instance) tell(ctx context.Context, r probeResult) bool {
	select {
	case i.results <- r:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait waits for d; false if ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// probed acts on what a prober told.
func (l *life) probed(r probeResult) {
	c := l.find(r.container)
	if c == nil || c.number != r.run || c.phase != ContainerRunning {
		return
	}
	switch {
	case r.looked:
		c.elsewhere = r.elsewhere
	case r.kind == readinessProbe:
		c.ready = r.err == nil
		c.reason, c.message = "", ""
		if r.err != nil {
			c.reason, c.message = ReasonUnhealthy, "readiness probe: "+r.err.Error()
		}
	case r.kind == startupProbe && r.err == nil:
		c.started = true
		c.ready = c.spec.Readiness == nil
		l.probe(c, false)
	default:
		l.condemn(c, r)
	}
	l.publish()
}

// condemn ends a container whose liveness or startup probe failed; its end leads to a restart.
func (l *life) condemn(c *run, r probeResult) {
	p := c.spec.Liveness
	if r.kind == startupProbe {
		p = c.spec.Startup
	}
	l.i.m.log.Info("restarting a container because of its probe", "instance", l.i.id, "container", c.spec.Name, "probe", r.kind, "err", r.err)
	l.endProbes(c)
	c.ready, c.verdict = false, ReasonUnhealthy
	c.reason, c.message = ReasonUnhealthy, string(r.kind)+" probe: "+r.err.Error()
	c.killAt = time.Now().Add(cmp.Or(p.Grace, l.i.spec.Grace))
	l.signal(c, unix.SIGTERM)
}

// resume starts what an adopted instance needs.
func (l *life) resume() {
	if l.state.Phase != PhaseRunning {
		return
	}
	for _, c := range l.all() {
		switch {
		case c.phase == ContainerRunning:
			l.probe(c, true)
		case c.phase == ContainerWaiting && (!c.there || c.last != nil):
			c.restartAt, c.delay = time.Now(), firstRestartDelay // the daemon ended between two runs
		}
	}
}
