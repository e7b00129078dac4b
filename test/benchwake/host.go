package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// host is the daemon that is measured, and its clients.
type host struct {
	*realdaemon.Host
	client *http.Client
	image  string
	// profiles is the folder for Go's profiles of the daemon, where they are wanted.
	profiles string
	// settle is how long the daemon is left alone before its memory is read.
	settle time.Duration
	// machineBefore is what the machine held before the daemon was started, in kilobytes.
	machineBefore int64
	rest          []string
}

// startHost starts the daemon, which lets all services go to zero as fast as they may. Every request makes its own connection.
func startHost(ctx context.Context, binary string) (*host, error) {
	home, err := os.MkdirTemp("", "benchwake")
	if err != nil {
		return nil, err
	}
	h := &host{Host: realdaemon.New(binary, home)}
	if h.machineBefore, err = machineUsed(); err != nil {
		return nil, err
	}
	if err := h.Start(ctx, "--pprof"); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	fast := []byte(`{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s","allow-zero-initial-scale":"true"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-autoscaler", types.MergePatchType, fast, metav1.PatchOptions{}); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	h.client = h.Client()
	if transport, ok := h.client.Transport.(*http.Transport); ok {
		transport.DisableKeepAlives = true
	}
	return h, nil
}

func (h *host) stop() error {
	defer func() { _ = os.RemoveAll(h.Home) }()
	if h.Cmd == nil || !h.Running() {
		return nil
	}
	return h.End(syscall.SIGINT)
}
