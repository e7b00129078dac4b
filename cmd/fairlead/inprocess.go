package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// session is a connection to a daemon: one that was running already, or one started in this process.
type session struct {
	*client
	info daemon.Info
	// own says that the daemon lives in this process and ends with the session.
	own  bool
	stop context.CancelFunc
	done chan error
}

// openSession connects to the daemon of a home folder, or starts one in this process if none is running.
func openSession(ctx context.Context, term *terminal, kubeconfig string, settings *daemon.Settings) (*session, error) {
	c, err := connect(ctx, kubeconfig)
	if err == nil {
		return describeSession(ctx, &session{client: c})
	}
	if !errors.Is(err, errNoDaemon) {
		return nil, err
	}
	return startSession(ctx, term, settings)
}

// describeSession asks where the daemon listens, and waits for a daemon that is still starting.
func describeSession(ctx context.Context, s *session) (_ *session, err error) {
	s.info, err = readInfo(ctx, s.kube)
	return s, err
}

// readInfo asks where the daemon listens. A daemon that is still starting is waited for.
func readInfo(ctx context.Context, kube kubernetes.Interface) (daemon.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := daemon.ReadInfo(ctx, kube)
		if !errors.Is(err, daemon.ErrStarting) {
			return info, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return info, withTry(fmt.Errorf("%w after %v", err, startPatience), "the log of the daemon, and fairlead doctor")
		}
	}
}

// startPatience is how long a command waits for a daemon that is starting.
const startPatience = time.Minute

// startSession runs a daemon in this process; its log goes to a file in the home folder.
func startSession(ctx context.Context, term *terminal, settings *daemon.Settings) (*session, error) {
	if err := daemon.EnterUsers(settings); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(settings.Home, 0o700); err != nil {
		return nil, fmt.Errorf("home folder: %w", err)
	}
	logPath := filepath.Join(settings.Home, "daemon.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of the daemon: %w", err)
	}
	d, err := daemon.New(daemon.Config{Settings: settings, LogOutput: logFile})
	if err != nil {
		logFile.Close()
		return nil, err
	}
	daemonCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &session{own: true, stop: stop, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		defer logFile.Close()
		s.done <- d.Run(daemonCtx, func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-s.done:
		stop()
		return nil, withTry(fmt.Errorf("start the daemon: %w", err), "fairlead doctor; the log is in %s", logPath)
	case <-ctx.Done():
		stop()
		return nil, errors.Join(context.Cause(ctx), <-s.done)
	}
	if s.client, err = connect(ctx, d.Kubeconfig()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if _, err := describeSession(ctx, s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	term.note("Started a daemon in this process; its log is in %s", logPath)
	return s, nil
}

// close stops the daemon if it is ours, and waits for it.
func (s *session) close() error {
	if !s.own {
		return nil
	}
	s.stop()
	return <-s.done
}
