package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Start starts a helper and returns when it listens. ended is closed when the process has ended, for which one goroutine
// waits: it is left behind on purpose if the helper outlives this process.
func Start(ctx context.Context, executable, arg string, opts Options) (ended <-chan struct{}, err error) {
	data, err := json.Marshal(opts)
	if err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(filepath.Join(opts.Dir, "helper.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox helper's log: %w", err)
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(executable, arg, string(data))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox helper: %w", err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended is in its log
		close(done)
	}()
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	if n, err := r.Read(make([]byte, 1)); n == 1 {
		return done, nil
	} else if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), cmd.Process.Kill())
	} else {
		reason, _ := os.ReadFile(logFile.Name()) // without it the cause stands alone
		return nil, fmt.Errorf("the sandbox helper did not start: %w: %s", err, reason)
	}
}
