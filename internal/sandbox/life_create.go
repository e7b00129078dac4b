package sandbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// create has the helper make the container's next run.
func (l *life) create(ctx context.Context, c *run) error {
	binary, err := l.i.m.drivers.binary(l.i.spec.Runtime)
	if err != nil {
		return err
	}
	dir := l.bundleDir(c)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	in, err := l.bundleInput(c)
	if err != nil {
		return err
	}
	if err := bundle.Write(dir, in); err != nil {
		return err
	}
	args := helper.CreateArgs{
		Ref: l.ref(c), Run: c.number, Runtime: l.i.spec.Runtime, Binary: binary,
		Bundle: dir, Lowers: c.spec.Lowers, Cgroup: in.CgroupPath, UID: in.User.UID,
	}
	if l.i.m.tree.Delegated() || l.i.spec.Runtime == "process" {
		args.Resources = bundle.Resources(in)
	}
	made, err := l.conn.Create(ctx, args)
	if err != nil {
		return err
	}
	c.made, c.there = made, true
	return nil
}

func (l *life) bundleDir(c *run) string { return filepath.Join(l.i.dir, "containers", c.spec.Name) }

// bundleInput translates a container of the Spec.
func (l *life) bundleInput(c *run) (bundle.Input, error) {
	m := l.i.m
	user, err := l.i.spec.user(c.spec)
	if err != nil {
		return bundle.Input{}, err
	}
	binds, err := l.binds(c)
	if err != nil {
		return bundle.Input{}, err
	}
	r := c.spec.Resources
	if r.Pids == 0 {
		r.Pids = m.cfg.Pids
	}
	in := bundle.Input{
		Hostname: l.i.spec.Hostname, Args: c.spec.Args, Env: c.spec.Env, Dir: c.spec.Dir, User: user,
		RootFS: filepath.Join(l.i.seen(l.bundleDir(c)), "rootfs"), ReadOnlyRoot: c.spec.ReadOnlyRoot, Binds: binds,
		NetNS: helper.NetNSPath(l.i.view.dir), CgroupPath: filepath.Join(l.i.cgroup(), c.spec.Name),
		MemoryBytes: r.MemoryBytes, LimitSwap: m.tree.Mode() == cgroup.V2, CPUMillis: r.CPUMillis,
		CPURequestMillis: r.CPURequestMillis, Pids: r.Pids, OpenFiles: m.openFile,
		CapAdd: c.spec.CapAdd, CapDrop: c.spec.CapDrop,
		CompiledFilter:           l.i.spec.Runtime == "crun" || l.i.spec.Runtime == "process",
		AllowPrivilegeEscalation: c.spec.AllowPrivilegeEscalation, SeccompUnconfined: c.spec.SeccompUnconfined,
	}
	in.OwnKernel, in.UnifiedLimits = l.i.spec.Runtime == "runsc", m.tree.Mode() == cgroup.V2
	in.NoCgroups = m.tree.Mode() == cgroup.None || m.tree.Delegated()
	if u := l.i.view.users; u.Count > 0 {
		in.UserNS, in.UsersFirst, in.UsersCount = helper.UserNSPath(l.i.view.dir), u.First, u.Count
	}
	return in, nil
}

// binds are the volumes of a container and the files of /etc that Fairlead writes.
func (l *life) binds(c *run) ([]bundle.Bind, error) {
	etc := filepath.Join(l.i.view.dir, "etc")
	binds := []bundle.Bind{
		{Source: filepath.Join(etc, "resolv.conf"), Destination: "/etc/resolv.conf"},
		{Source: filepath.Join(etc, "hosts"), Destination: "/etc/hosts"},
		{Source: filepath.Join(etc, "hostname"), Destination: "/etc/hostname"},
	}
	for _, mount := range c.spec.Mounts {
		v := l.i.spec.volume(mount.Volume)
		source, err := l.i.mountSource(v, mount.SubPath)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		binds = append(binds, bundle.Bind{Source: source, Destination: mount.Path, ReadOnly: mount.ReadOnly || v.Files != nil})
	}
	return binds, nil
}

// publish makes the state known, on disk and to subscribers.
func (l *life) publish() {
	l.state.Init, l.state.Containers = statuses(l.init), statuses(l.main)
	l.state.Ready = l.state.Phase == PhaseRunning
	l.state.Reason, l.state.Message = l.reason, l.message
	for _, c := range l.main {
		if !c.ready {
			l.state.Ready = false
			if reason, message := c.why(); l.state.Reason == "" {
				l.state.Reason, l.state.Message = reason, message
			}
		}
	}
	if l.state.Ready && l.state.ReadyAt.IsZero() {
		l.state.ReadyAt = l.i.now()
		l.i.m.metrics.wake.Observe(l.state.ReadyAt.Sub(l.state.Started).Seconds())
	}
	l.count(l.state.Phase)
	if l.state.Phase == PhaseGone {
		l.keepLog() // first, so that whoever hears of the end finds the log
	}
	l.i.publish(l.state)
	if l.state.Phase == PhaseGone {
		return
	}
	if err := l.saveRecord(); err != nil {
		l.i.m.log.Error("writing down the state of an instance", "instance", l.i.id, "err", err)
	}
}

// keepLog notes once that the instance is gone and its log stays.
func (l *life) keepLog() {
	if l.kept {
		return
	}
	l.kept = true
	if err := l.i.m.past.end(Ended{ID: l.i.id, Labels: l.i.spec.Labels, State: l.state, At: time.Now()}); err != nil {
		l.i.m.log.Warn("keeping the log of an instance that is gone", "instance", l.i.id, "err", err)
	}
}

// count keeps the number of instances in each phase.
func (l *life) count(phase Phase) {
	if phase == l.counted {
		return
	}
	gauge := l.i.m.metrics.instances
	if l.counted != "" {
		gauge.WithLabelValues(string(l.counted)).Dec()
	}
	l.counted = ""
	if phase != PhaseGone {
		gauge.WithLabelValues(string(phase)).Inc()
		l.counted = phase
	}
}

func statuses(runs []*run) []ContainerStatus {
	var out []ContainerStatus
	for _, c := range runs {
		out = append(out, ContainerStatus{
			Name: c.spec.Name, Phase: c.phase, Ready: c.ready, Started: c.started, StartedAt: c.since, Restarts: c.restarts,
			Reason: c.reason, Message: c.message, Elsewhere: c.strays(), Exit: c.exit, Last: c.last,
		})
	}
	return out
}

// strays gives where a run that is not ready listens, if that is not where it is asked.
func (c *run) strays() *Elsewhere {
	if c.ready || c.phase != ContainerRunning {
		return nil
	}
	return c.elsewhere
}

// why says why a container is not ready.
func (c *run) why() (reason, message string) {
	e := c.strays()
	switch {
	case e == nil:
		return c.reason, c.message
	case c.message == "":
		return ReasonUnhealthy, e.String()
	}
	return c.reason, c.message + "; " + e.String()
}

// restore puts the state machine where another daemon left it, corrected by what the helper knows.
func (l *life) restore(rec record, listed helper.Listed) error {
	l.state = rec.State
	l.state.Isolation = rec.Spec.isolation() // a record of before may not have it
	l.reason, l.message = rec.State.Reason, rec.State.Message
	there := map[string]helper.ListedContainer{}
	for _, c := range listed.Containers {
		there[c.Name] = c
	}
	frozen, err := l.held()
	if err != nil {
		return err
	}
	switch {
	case l.state.Phase == PhaseDraining:
		l.killAt = l.i.now().Add(l.i.spec.Grace)
	case frozen:
		l.state.Phase = PhaseFrozen
	case l.state.Phase == PhaseFrozen:
		l.state.Phase = PhaseRunning
	}
	for n, c := range l.init {
		c.restore(statusAt(rec.State.Init, n), there[c.spec.Name])
	}
	for n, c := range l.main {
		c.restore(statusAt(rec.State.Containers, n), there[c.spec.Name])
	}
	l.resume()
	for _, c := range listed.Containers {
		if c.Exit != nil { // it ended while there was no daemon
			l.i.exits <- helper.Event{Ref: helper.Ref{Instance: l.i.id, Container: c.Name}, Run: c.Run, Exit: *c.Exit}
		}
	}
	l.publish()
	return nil
}

func statusAt(all []ContainerStatus, n int) ContainerStatus {
	if n < len(all) {
		return all[n]
	}
	return ContainerStatus{Phase: ContainerWaiting}
}

func (c *run) restore(s ContainerStatus, h helper.ListedContainer) {
	c.phase, c.ready, c.started, c.since, c.restarts = s.Phase, s.Ready, s.Started, s.StartedAt, s.Restarts
	c.reason, c.message, c.exit, c.last = s.Reason, s.Message, s.Exit, s.Last
	if h.Name == "" {
		c.number = c.restarts
		return // it was being made anew
	}
	c.there, c.made, c.number = true, h.Created, h.Run
	if c.phase == ContainerWaiting && h.Exit == nil && c.awake() {
		c.phase = ContainerRunning // woken just before the daemon ended
	}
}

// awake says whether a created container's user code has been let run: its fifo, if it has one, is gone then, or nobody's.
func (c *run) awake() bool {
	if c.made.Fifo == "" {
		return c.made.Started
	}
	info, err := os.Lstat(c.made.Fifo)
	return os.IsNotExist(err) || err == nil && info.Mode().Perm() == 0
}
