package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startDaemon runs the program under test in a home of its own on free ports and waits until it is ready. The returned
// function stops it and waits for its end.
func (r *runner) startDaemon(ctx context.Context) (func() error, error) {
	r.kubeconfig = filepath.Join(r.home, "kubeconfig")
	logFile, err := os.Create(filepath.Join(r.out, "daemon.log"))
	if err != nil {
		return nil, err
	}
	args := []string{
		"serve", "--home", r.home, "--log-level", r.logLevel, "--domain", r.domain,
		"--api-listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0", "--gateway-tls-listen", "127.0.0.1:0",
		"--registry-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
	}
	cmd := exec.Command(r.binary, append(args, r.daemonArgs...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = logFile
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		watchReady(stderr, logFile, ready)
		ended <- cmd.Wait()
		logFile.Close()
	}()
	select {
	case <-ready:
	case err := <-ended:
		return nil, fmt.Errorf("the daemon ended before it was ready: %v; its log is %s", err, logFile.Name())
	case <-time.After(r.startLimit):
		cmd.Process.Kill()
		return nil, fmt.Errorf("the daemon was not ready in %v; its log is %s", r.startLimit, logFile.Name())
	case <-ctx.Done():
		cmd.Process.Kill()
		return nil, context.Cause(ctx)
	}
	return func() error { return stopProcess(cmd, ended) }, nil
}

// watchReady copies the daemon's stderr to the log and closes ready at the line that says so.
func watchReady(stderr io.Reader, logFile io.Writer, ready chan<- struct{}) {
	told := false
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		io.WriteString(logFile, line)
		if !told && strings.HasPrefix(line, "fairlead: ready") {
			told = true
			close(ready)
		}
		if err != nil {
			return
		}
	}
}

func stopProcess(cmd *exec.Cmd, ended <-chan error) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(90 * time.Second):
		cmd.Process.Signal(syscall.SIGQUIT)
		<-ended
		return errors.New("the daemon did not stop in 90 s after SIGTERM and was told to print its stacks and end")
	}
}
