package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// shutdown ends first what comes from outside, then what comes from instances: no new connections; every answer asks for a new
// connection; what is in progress is waited for; a connection with nothing in progress is passed on, or closed after a time.
//
// http.Server.Shutdown cannot do that: it drops a request that it has read in the moment of its call, and closes connections that
// carried a request and were not told. It is called when only those of HTTP/2 are left, which it tells by GOAWAY. What was accepted is
// known when those that accept, outer and inner, have ended.
func (g *Gateway) shutdown(ctx context.Context, outer, inner *sync.WaitGroup) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DrainTimeout)
	defer cancel()
	g.leaving.Store(true)
	begun := time.Now()
	g.closeListeners()
	_ = g.passed.Close() // never fails
	outer.Wait()
	g.conns.end(begun, g.cfg.LameDuck, g.cfg.PassOn)
	g.conns.drain(ctx)
	g.endLasting(context.WithoutCancel(ctx))
	g.endServer(ctx, g.server)
	if g.cfg.Leaving != nil {
		g.cfg.Leaving()
	}
	g.connsIn.end(time.Now(), max(handoverTime, time.Until(begun.Add(g.cfg.LameDuck))), nil)
	g.connsIn.drain(ctx)
	_ = g.inside.Close() // never fails
	inner.Wait()
	g.connsIn.drain(ctx) // one that came in that moment
	g.endServer(ctx, g.insideSrv)
}

// endLasting ends upgraded connections, where the instances do not do it: late, so that their clients, who come again at once, wait for
// the successor and not for requests in flight here.
func (g *Gateway) endLasting(ctx context.Context) {
	if g.cfg.Outlived == nil || !g.cfg.Outlived() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*g.lasting.partTime)
	defer cancel()
	g.lasting.end(ctx)
}

// handoverTime is more than a connection takes from being accepted to ServeInternal.
const handoverTime = 20 * time.Millisecond

// end begins the end of the connections.
func (s *connections) end(now time.Time, linger time.Duration, passOn func(c net.Conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.linger, s.passOn = now, linger, passOn
}

// drain waits until the connections have gone that do not end by themselves, or ctx ends.
func (s *connections) drain(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.sweep() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// endServer ends the connections of HTTP/2, and whatever is left when ctx has ended.
func (g *Gateway) endServer(ctx context.Context, srv *http.Server) {
	if ctx.Err() != nil || srv.Shutdown(ctx) != nil {
		g.log.Warn("requests were cut off at the end of the drain time", "drain_timeout", g.cfg.DrainTimeout)
		_ = srv.Close()
	}
}

// Close gives up what New opened, for a gateway whose Run was never called or has returned: listeners are closed, and
// connections given to ServeConn and ServeInternal are too.
func (g *Gateway) Close() {
	g.closeListeners()
	_ = g.passed.Close() // never fails
	_ = g.inside.Close() // as above
}
