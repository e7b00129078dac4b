package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lightDaemon makes a daemon without the parts that need root, on free ports.
func lightDaemon(t *testing.T, log io.Writer, wrap ...string) *exec.Cmd {
	t.Helper()
	args := append(wrap, binary, "serve", "--disable", "registry,sandbox,gateway,controller", "--home", t.TempDir())
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FAIRLEAD_API_LISTEN=127.0.0.1:0", "FAIRLEAD_METRICS_LISTEN=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

// waitFor checks every few milliseconds until ok, for at most patience.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not happen within %v", what, patience)
		}
	}
}

// TestSocketActivation hands the daemon a listening socket and a notify socket the way systemd does.
func TestSocketActivation(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	notifyPath := t.TempDir() + "/notify"
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifyPath, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()

	log := &lockedBuffer{}
	// The variable has to name the process itself, so a shell sets it and becomes the daemon.
	cmd := lightDaemon(t, log, "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh")
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=metrics", "NOTIFY_SOCKET="+notifyPath)
	cmd.ExtraFiles = []*os.File{file}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	message := make([]byte, 256)
	if err := notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := notify.Read(message)
	if err != nil || !strings.Contains(string(message[:n]), "READY=1") {
		t.Fatalf("systemd was told %q, %v\n%s", message[:n], err, log)
	}
	response, err := http.Get("http://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatalf("the socket that was passed is not served: %v\n%s", err, log)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/healthz answers %s", response.Status)
	}
}

// TestSecondSignal: one SIGINT stops in order; a second one ends the process at once, even when a part hangs.
func TestSecondSignal(t *testing.T) {
	log := &lockedBuffer{}
	cmd := lightDaemon(t, log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	waitFor(t, "ready", func() bool { return strings.Contains(log.String(), "fairlead: ready") })
	for range 2 {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status := exit.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.Signal() != syscall.SIGINT {
				t.Errorf("ended with %v, want by the second signal or in order\n%s", err, log)
			}
		}
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		t.Fatalf("two signals did not end the daemon\n%s", log)
	}
}

// TestFullDisk runs the daemon on a file system that fills up: the error is clear, and what was written is read back
// once there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	home := t.TempDir()
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "size=600k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	defer func() { _ = syscall.Unmount(home, syscall.MNT_DETACH) }()
	var out bytes.Buffer
	cmd := exec.Command(binary, "serve", "--disable", "registry,sandbox,gateway,controller", "--home", home)
	cmd.Env = append(os.Environ(), "FAIRLEAD_API_LISTEN=127.0.0.1:0", "FAIRLEAD_METRICS_LISTEN=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("got %v, want exit code 1\n%s", err, &out)
	}
	for _, want := range []string{"fairlead: ", "no disk space left", "try: free space"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, &out)
		}
	}
}
