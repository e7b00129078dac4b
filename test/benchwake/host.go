package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
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
}

func startHost(ctx context.Context, binary string) (*host, error) {
	home, err := os.MkdirTemp("", "benchwake")
	if err != nil {
		return nil, err
	}
	h := &host{home: home, binary: binary, env: append(os.Environ(), "FAIRLEAD_HOME="+home)}
	for _, name := range []string{"API", "GATEWAY", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		h.env = append(h.env, "FAIRLEAD_"+name+"_LISTEN=127.0.0.1:0")
	}
	if h.log, err = os.Create(filepath.Join(home, "daemon.log")); err != nil {
		return nil, err
	}
	h.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "serve")
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
	err := every(ctx, 50*time.Millisecond, func() (bool, error) {
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
	fast := []byte(`{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s"}}`)
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

// every calls done until it says so.
func every(ctx context.Context, pause time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (h *host) stop() error {
	defer func() { _ = os.RemoveAll(h.home) }()
	defer h.log.Close()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return h.cmd.Wait()
}

func (h *host) memory() (int64, error) { return residentBytes(h.cmd.Process.Pid) }

func (h *host) build(ctx context.Context, folder string) (image string, err error) {
	cmd := exec.CommandContext(ctx, h.binary, "build", folder)
	cmd.Env = h.env
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

func name(i int) string { return fmt.Sprintf("hello-%04d", i) }

// deploy defines services one after the other and gives the time from apply to Ready of each.
func (h *host) deploy(ctx context.Context, image string, services int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range services {
		service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}
		service.Spec.Template.Spec.Containers = []corev1.Container{{Image: image}}
		begin := time.Now()
		watch, err := h.serving.ServingV1().Services("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name(i)})
		if err != nil {
			return nil, err
		}
		if _, err := h.serving.ServingV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		for event := range watch.ResultChan() {
			if s, ok := event.Object.(*servingv1.Service); ok && s.IsReady() {
				break
			}
		}
		watch.Stop()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// allAtZero waits until no instance is shown any more, and a moment longer for the spares.
func (h *host) allAtZero(ctx context.Context) error {
	err := every(ctx, 500*time.Millisecond, func() (bool, error) {
		pods, err := h.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, err
	})
	if err != nil {
		return err
	}
	return every(ctx, 500*time.Millisecond, func() (bool, error) {
		revisions, err := h.serving.ServingV1().Revisions("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, r := range revisions.Items {
			if r.Status.ActualReplicas == nil || *r.Status.ActualReplicas != 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// ask sends one request to each of several services at once and gives how long each took.
func (h *host) ask(ctx context.Context, first, width int) ([]time.Duration, error) {
	waits, errs := make([]time.Duration, width), make([]error, width)
	var group sync.WaitGroup
	for i := range width {
		group.Go(func() { waits[i], errs[i] = h.get(ctx, first+i) })
	}
	group.Wait()
	return waits, errors.Join(errs...)
}

func (h *host) get(ctx context.Context, i int) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name(i)+".default."+h.info.Domain, nil)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	response, err := h.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", name(i), response.Status)
	}
	return time.Since(begin), err
}
