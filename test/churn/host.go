package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// host is a home folder whose daemon comes and goes.
type host struct {
	binary  string
	home    string
	env     []string
	cmd     *exec.Cmd
	ended   chan error // of cmd
	kube    kubernetes.Interface
	serving servingclient.Interface
	info    daemon.Info
}

func newHost(binary, home string) *host {
	h := &host{binary: binary, home: home, env: append(os.Environ(), "FAIRLEAD_HOME="+home, "FAIRLEAD_KEEP_INSTANCES=true")}
	for _, name := range []string{"API", "GATEWAY", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		h.env = append(h.env, "FAIRLEAD_"+name+"_LISTEN=127.0.0.1:0") // the ports of the first daemon stay those of the next
	}
	return h
}

// logged gives the log of all daemons.
func (h *host) logged() []byte {
	data, _ := os.ReadFile(filepath.Join(h.home, "daemon.log")) // without it there is nothing to show
	return data
}

// launch starts a daemon without waiting for it.
func (h *host) launch(flags ...string) error {
	log, err := os.OpenFile(filepath.Join(h.home, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(h.binary, append([]string{"serve"}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = h.env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	h.cmd, h.ended = cmd, ended
	return nil
}

// start starts a daemon and waits until it is ready.
func (h *host) start(ctx context.Context, flags ...string) error {
	before := bytes.Count(h.logged(), []byte("fairlead: ready"))
	if err := h.launch(flags...); err != nil {
		return err
	}
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-h.ended:
			h.ended <- err
			return false, fmt.Errorf("the daemon ended: %w", err)
		default:
			return bytes.Count(h.logged(), []byte("fairlead: ready")) > before, nil
		}
	})
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(h.home, "kubeconfig"))
	if err != nil {
		return err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	if h.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if h.serving, err = servingclient.NewForConfig(config); err != nil {
		return err
	}
	h.info, err = daemon.ReadInfo(ctx, h.kube)
	return err
}

// end signals the daemon and waits for it.
func (h *host) end(signal syscall.Signal) error {
	if err := h.cmd.Process.Signal(signal); err != nil {
		return err
	}
	return h.wait()
}

func (h *host) wait() error {
	select {
	case err := <-h.ended:
		h.ended <- err
		return err
	case <-time.After(2 * time.Minute):
		return errors.Join(errors.New("the daemon does not end"), h.cmd.Process.Kill())
	}
}

// endAll ends the daemon and what it left running, and says whether the gateway's port is free then.
func (h *host) endAll(ctx context.Context) error {
	h.env = append(h.env, "FAIRLEAD_KEEP_INSTANCES=false")
	var err error
	select {
	case <-h.ended:
	default:
		err = h.end(syscall.SIGTERM)
	}
	// The next one, which is to keep nothing, ends what the helper holds.
	if startErr := h.start(ctx); startErr != nil {
		return errors.Join(err, startErr)
	}
	if err := errors.Join(err, h.end(syscall.SIGTERM)); err != nil {
		return err
	}
	if conn, err := net.Dial("tcp", h.info.Gateway); err == nil {
		conn.Close()
		return errors.New("the port of the gateway is open although daemon and instances have ended")
	}
	return nil
}

func (h *host) build(ctx context.Context, folder string) (image string, err error) {
	cmd := exec.CommandContext(ctx, h.binary, "build", folder)
	cmd.Env = h.env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("building %s: %w: %s", folder, err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
