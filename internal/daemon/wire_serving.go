package daemon

import (
	"context"
	"errors"
	"time"
)

// wireServing starts the gateway when routes and instances are there, so that it never answers for want of them, and stops it before
// they go. Then it has the listening sockets held for the next daemon.
func (w *wiring) wireServing() error {
	if w.gateway != nil {
		w.parts.add("gateway", w.settings.Drain+shortDrain, w.gateway.Run, "controller", "rules", "request log")
	}
	if w.sandboxes != nil && w.settings.HoldPorts > 0 {
		w.parts.add("ports", shortDrain, w.holdPorts, "gateway", "sandbox")
	}
	return nil
}

// holdPorts has the sandbox helper keep the listening sockets open for a time after this process has gone. Where the end is meant as
// one, because the instances end with the daemon, they are let go of first.
func (w *wiring) holdPorts(ctx context.Context, ready func()) error {
	if err := w.sandboxes.HoldSockets(ctx, w.listen.lasting, w.settings.HoldPorts); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	if w.keep.Load() {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := w.sandboxes.HoldSockets(last, nil, 0)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the sandbox helper does not answer")
	}
	return err
}
