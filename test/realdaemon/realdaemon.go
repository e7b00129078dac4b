// Package realdaemon starts the real binary with a home folder and ports of its own, for tests and measurements that drive a whole
// Fairlead from outside.
package realdaemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// Host is a home folder whose daemon comes and goes. What Start fills is good until the daemon ends.
type Host struct {
	Binary, Home string
	// Env is the environment of the daemon and of the commands, as of os.Environ.
	Env []string
	// Cmd is the daemon started last.
	Cmd     *exec.Cmd
	REST    *rest.Config
	Kube    kubernetes.Interface
	Serving servingclient.Interface
	Info    daemon.Info

	ended chan error // of Cmd
}

// New is a home without a daemon; env comes on top of the variables of this process.
func New(binary, home string, env ...string) *Host {
	h := &Host{Binary: binary, Home: home, Env: append(os.Environ(), "FAIRLEAD_HOME="+home)}
	for _, name := range []string{"API", "GATEWAY", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		h.Env = append(h.Env, "FAIRLEAD_"+name+"_LISTEN=127.0.0.1:0") // the ports of the first daemon stay those of the next
	}
	h.Env = append(h.Env, env...)
	return h
}

// Logged gives the log of all daemons of this home.
func (h *Host) Logged() []byte {
	data, _ := os.ReadFile(filepath.Join(h.Home, "daemon.log")) // without it there is nothing to show
	return data
}

// Launch starts a daemon without waiting for it.
func (h *Host) Launch(flags ...string) error {
	log, err := os.OpenFile(filepath.Join(h.Home, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(h.Binary, append([]string{"serve"}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = h.Env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	h.Cmd, h.ended = cmd, ended
	return nil
}

// Start starts a daemon, waits until it is ready, and connects the clients.
func (h *Host) Start(ctx context.Context, flags ...string) error {
	before := bytes.Count(h.Logged(), []byte("fairlead: ready"))
	if err := h.Launch(flags...); err != nil {
		return err
	}
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-h.ended:
			h.ended <- err
			return false, fmt.Errorf("the daemon ended: %w", err)
		default:
			return bytes.Count(h.Logged(), []byte("fairlead: ready")) > before, nil
		}
	})
	if err != nil {
		return err
	}
	if h.REST, err = clientcmd.BuildConfigFromFlags("", filepath.Join(h.Home, "kubeconfig")); err != nil {
		return err
	}
	h.REST.QPS, h.REST.WarningHandler = -1, rest.NoWarnings{}
	if h.Kube, err = kubernetes.NewForConfig(h.REST); err != nil {
		return err
	}
	if h.Serving, err = servingclient.NewForConfig(h.REST); err != nil {
		return err
	}
	h.Info, err = daemon.ReadInfo(ctx, h.Kube)
	return err
}

// Takeover starts a daemon that asks the running one to leave, and waits for both.
func (h *Host) Takeover(ctx context.Context) error {
	old := h.ended
	if err := h.Start(ctx, "--takeover"); err != nil {
		return err
	}
	return <-old
}

// Running says whether the daemon started last has not ended.
func (h *Host) Running() bool {
	select {
	case err := <-h.ended:
		h.ended <- err
		return false
	default:
		return true
	}
}

// End signals the daemon and waits for it.
func (h *Host) End(signal syscall.Signal) error {
	if err := h.Cmd.Process.Signal(signal); err != nil {
		return err
	}
	return h.Wait()
}

// Wait waits for the daemon's end, two minutes at most; then it is killed.
func (h *Host) Wait() error {
	select {
	case err := <-h.ended:
		h.ended <- err
		return err
	case <-time.After(2 * time.Minute):
		return errors.Join(errors.New("the daemon does not end"), h.Cmd.Process.Kill())
	}
}

// Build builds a folder of source and gives the image's reference.
func (h *Host) Build(ctx context.Context, folder string) (image string, err error) {
	cmd := exec.CommandContext(ctx, h.Binary, "build", folder)
	cmd.Env = h.Env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("building %s: %w: %s", folder, err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// Client sends every request to the gateway, whatever the host of its URL.
func (h *Host) Client() *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.Info.Gateway)
		},
		DisableCompression: true,
	}}
}
