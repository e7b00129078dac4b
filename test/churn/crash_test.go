package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// TestCrash kills the daemon under load. Lost is what was on its way on a connection at that moment, and nothing else: whoever connects
// while nobody is there waits for the next daemon. When none comes, the ports are given up after their time.
func TestCrash(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h := newHost(program(t), t.TempDir())
	h.Env = append(h.Env, "FAIRLEAD_KEEP_INSTANCES=false", "FAIRLEAD_HOLD_PORTS=2m") // a crash asks nobody
	ok := func(doing string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", doing, err, h.Logged())
		}
	}
	ok("starting", h.Start(ctx))
	defer func() { ok("ending", h.endAll(context.WithoutCancel(ctx))) }()
	image, err := h.Build(ctx, "../../examples/hello")
	ok("building", err)
	ok("creating", create(ctx, h, image))

	const connections = 8
	l := newLoad(h, connections)
	var until atomic.Int64 // requests
	until.Store(1 << 62)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx, func(sent int64) bool { return sent > until.Load() })
	}()
	sent := func(n int64) {
		t.Helper()
		until := l.sent.Load() + n
		ok("waiting for requests", wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(context.Context) (bool, error) { return l.sent.Load() > until, nil }))
	}
	sent(500)
	kill(t, h)
	late := make(chan error, 1)
	c := l.open(l)
	go func() { late <- c.request() }()
	h.Env = append(h.Env, "FAIRLEAD_HOLD_PORTS=3s") // for the crash of the next one, which nobody follows
	ok("starting again", h.Start(ctx))
	ok("a request that came between two daemons", <-late)
	sent(500)
	until.Store(0)
	<-loaded
	n, _, _, most, failed := l.result()
	t.Logf("%d requests, %d lost with the daemon, the longest took %v", n, len(l.failed), most)
	if len(l.failed) > connections+idlers {
		t.Errorf("%d requests are lost on %d connections: %v", len(l.failed), connections+idlers, failed)
	}

	kill(t, h)
	if conn, err := net.Dial("tcp", h.Info.Gateway); err != nil {
		t.Error("the port is closed at once:", err)
	} else {
		conn.Close()
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		conn, err := net.Dial("tcp", h.Info.Gateway)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED), nil
	})
	if err != nil {
		t.Error("the port is held for longer than --hold-ports:", err)
	}
	ok("starting after the ports were given up", h.Start(ctx))
	c.close()
	again := newLoad(h, 1) // the gateway has another port
	c = again.open(again)
	ok("a request after that", c.request())
	c.close()
}

// kill ends the daemon as a crash does.
func kill(t *testing.T, h *host) {
	t.Helper()
	if err := h.End(syscall.SIGKILL); err == nil {
		t.Fatal("the daemon ended by itself")
	}
}
