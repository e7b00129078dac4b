package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// host is a daemon that is measured.
type host struct {
	home    string
	env     []string
	binary  string
	cmd     *exec.Cmd
	log     *os.File
	kube    kubernetes.Interface
	serving servingclient.Interface
	info    daemon.Info
	client  *http.Client
	image   string
	// profiles is the folder for Go's profiles of the daemon, where they are wanted.
	profiles string
	// settle is how long the daemon is left alone before its memory is read.
	settle time.Duration
	// machineBefore is what the machine held before the daemon was started, in kilobytes.
	machineBefore int64
	rest          []string
}

func startHost(ctx context.Context, binary string) (*host, error) {
	home, err := os.MkdirTemp("", "benchwake")
	if err != nil {
		return nil, err
	}
	h := &host{home: home, binary: binary, env: append(os.Environ(), "FAIRLEAD_HOME="+home)}
	if h.machineBefore, err = machineUsed(); err != nil {
		return nil, err
	}
	for _, name := range []string{"API", "GATEWAY", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		h.env = append(h.env, "FAIRLEAD_"+name+"_LISTEN=127.0.0.1:0")
	}
	if h.log, err = os.Create(filepath.Join(home, "daemon.log")); err != nil {
		return nil, err
	}
	h.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "serve", "--pprof")
	h.cmd.Env, h.cmd.Stdout, h.cmd.Stderr = h.env, h.log, h.log
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	if err := h.connect(ctx); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// connect waits until the daemon says where it listens, and makes all services go to zero as fast as they may.
func (h *host) connect(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(h.home, "kubeconfig"))
		if err != nil {
			return false, nil //nolint:nilerr // not written yet
		}
		config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
		if h.kube, err = kubernetes.NewForConfig(config); err != nil {
			return false, err
		}
		if h.serving, err = servingclient.NewForConfig(config); err != nil {
			return false, err
		}
		h.info, err = daemon.ReadInfo(ctx, h.kube)
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	fast := []byte(`{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s","allow-zero-initial-scale":"true"}}`)
	if _, err := h.kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-autoscaler", types.MergePatchType, fast, metav1.PatchOptions{}); err != nil {
		return err
	}
	h.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.info.Gateway)
		},
	}}
	return nil
}

func (h *host) stop() error {
	defer func() { _ = os.RemoveAll(h.home) }()
	defer h.log.Close()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return h.cmd.Wait()
}

func (h *host) build(ctx context.Context, folder string) (image string, err error) {
	cmd := exec.CommandContext(ctx, h.binary, "build", folder)
	cmd.Env = h.env
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
