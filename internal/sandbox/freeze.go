package sandbox

import "context"

// hold stops every process of the instance in place: by the freezer of its control group, or by SIGSTOP where there is none.
func (l *life) hold(ctx context.Context) error {
	if l.i.m.tree.CanFreeze() {
		return l.i.m.tree.Freeze(ctx, l.i.cgroup())
	}
	return l.conn.Pause(ctx, l.i.id)
}

// unhold lets the processes run again.
func (l *life) unhold(ctx context.Context) error {
	if l.i.m.tree.CanFreeze() {
		return l.i.m.tree.Thaw(ctx, l.i.cgroup())
	}
	return l.conn.Resume(ctx, l.i.id)
}

// held says whether an instance that is taken over is frozen. Where there is no freezer to ask, the record is believed; what was
// being stopped when the daemon ended is let go.
func (l *life) held() (bool, error) {
	if l.i.m.tree.CanFreeze() {
		return l.i.m.tree.Frozen(l.i.cgroup())
	}
	if l.state.Phase == PhaseFrozen {
		return true, nil
	}
	ctx, cancel := call()
	defer cancel()
	return false, l.unhold(ctx)
}
