package daemon

import (
	"context"
	"errors"
	"net"
	"time"
)

// wireServing starts the gateway when routes and instances are there, so that it never answers for want of them, and stops it before
// they go. Then it has the listening sockets held for the next daemon.
func (w *wiring) wireServing() error {
	if w.gateway != nil {
		w.parts.add("gateway", w.settings.Drain+shortDrain, w.serveGateway, "controller", "rules", "request log")
	}
	if w.sandboxes != nil && w.settings.HoldPorts > 0 {
		w.parts.add("ports", shortDrain, w.holdPorts, "gateway", "sandbox")
	}
	return nil
}

// serveGateway runs the gateway, which first takes the connections that the daemon before has passed on. It ends when published ports
// accept no more, so that what they have accepted is served.
func (w *wiring) serveGateway(ctx context.Context, ready func()) error {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		w.waker.stopAccepting()
		cancel()
	})()
	return w.gateway.Run(serving, func() {
		if w.sandboxes != nil {
			conns, err := w.sandboxes.TakePassed(ctx)
			if err != nil { // their clients open new ones
				w.logger.Warn("connections of the daemon before are lost", "err", err)
			}
			for _, c := range conns {
				w.gateway.ServeConn(c)
			}
		}
		ready()
	})
}

// passTime bounds how long the sandbox helper may take for one connection.
const passTime = time.Second

// passOn gives a client's connection to the next daemon, where one is expected.
func (w *wiring) passOn(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok || w.sandboxes == nil || !w.keep.Load() || w.settings.HoldPorts == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), passTime)
	defer cancel()
	if err := w.sandboxes.PassOn(ctx, tcp); err != nil {
		w.logger.Debug("a connection is not passed on", "err", err)
		return false
	}
	_ = tcp.Close() // the helper has it
	return true
}

// holdPorts has the sandbox helper keep the listening sockets open for a time after this process has gone. Where the end is meant as
// one, because the instances end with the daemon, they are let go of first.
func (w *wiring) holdPorts(ctx context.Context, ready func()) error {
	hold := func() error {
		return w.sandboxes.HoldSockets(ctx, w.listen.published.lasting(w.listen.lasting), w.settings.HoldPorts)
	}
	if err := hold(); err != nil {
		return err
	}
	ready()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-w.listen.published.changed:
			if err := hold(); err != nil && ctx.Err() == nil {
				w.logger.Warn("ports that changed are not held for the next daemon", "err", err)
			}
		}
	}
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
