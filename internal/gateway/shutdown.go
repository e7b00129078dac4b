package gateway

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// shutdown ends first what comes from outside, then what comes from instances, each in three steps: no new connections; every
// answer asks for a new connection; what is still there is waited for.
func (g *Gateway) shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DrainTimeout)
	defer cancel()
	g.leaving.Store(true)
	begun := time.Now()
	g.closeListeners()
	lameDuck(ctx, &g.open, g.cfg.LameDuck)
	g.fresh.close(false)
	g.drain(ctx, g.server)
	if g.cfg.Leaving != nil {
		g.cfg.Leaving()
	}
	lameDuck(ctx, &g.openIn, max(handoverTime, time.Until(begun.Add(g.cfg.LameDuck))))
	g.fresh.close(true)
	g.drain(ctx, g.insideSrv)
}

// handoverTime is more than a connection takes from being accepted to ServeInternal.
const handoverTime = 20 * time.Millisecond

// lameDuck waits until clients have gone to other connections, or none has for a time: on a machine that has too much to do, those
// that are left may have a request on its way.
func lameDuck(ctx context.Context, open *atomic.Int64, patience time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for before := open.Load(); before > 0; {
		select {
		case <-tick.C:
			if now := open.Load(); now != before {
				before = now
				end.Reset(patience)
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// drain waits for the requests in flight.
func (g *Gateway) drain(ctx context.Context, srv *http.Server) {
	if srv.Shutdown(ctx) != nil {
		g.log.Warn("requests were cut off at the end of the drain time", "drain_timeout", g.cfg.DrainTimeout)
		_ = srv.Close()
	}
}

// Close gives up what New opened, for a gateway whose Run was never called or has returned: listeners are closed, and
// connections given to ServeInternal are too.
func (g *Gateway) Close() {
	g.closeListeners()
	_ = g.inside.Close() // never fails
}
