package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// readHeaderTimeout and idleTimeout keep slow clients from holding connections of the small servers.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = time.Minute
)

// webServer serves one handler on one listener.
type webServer struct {
	name     string
	listener net.Listener
	server   *http.Server
	// drain is how long requests in flight may take at the end.
	drain time.Duration
}

func newWebServer(name string, listener net.Listener, handler http.Handler, drain time.Duration) *webServer {
	return &webServer{name, listener, &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout}, drain}
}

// run serves until ctx ends, then lets requests in flight finish for the drain time.
func (w *webServer) run(ctx context.Context, ready func()) error {
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(w.listener) }()
	ready()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s on %s: %w", w.name, w.listener.Addr(), err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.drain)
	defer cancel()
	err := w.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = w.server.Close()
	}
	// Serve returns ErrServerClosed now; Shutdown has told what there is to tell.
	_ = <-served
	return err
}
