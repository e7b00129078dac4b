package main

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// host is a home folder whose daemon comes and goes, and whose instances stay.
type host struct{ *realdaemon.Host }

func newHost(binary, home string) *host {
	return &host{realdaemon.New(binary, home, "FAIRLEAD_KEEP_INSTANCES=true")}
}

// endAll ends the daemon and what it left running, and says whether the gateway's port is free then.
func (h *host) endAll(ctx context.Context) error {
	h.Env = append(h.Env, "FAIRLEAD_KEEP_INSTANCES=false")
	var err error
	if h.Running() {
		err = h.End(syscall.SIGTERM)
	}
	// The next one, which is to keep nothing, ends what the helper holds.
	if startErr := h.Start(ctx); startErr != nil {
		return errors.Join(err, startErr)
	}
	if err := errors.Join(err, h.End(syscall.SIGTERM)); err != nil {
		return err
	}
	if conn, err := net.Dial("tcp", h.Info.Gateway); err == nil {
		conn.Close()
		return errors.New("the port of the gateway is open although daemon and instances have ended")
	}
	return nil
}
