package daemon

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/internal/api"
)

// lateLive answers for what runs behind pods. The API is made before the component that knows the instances, so the
// answer is put in later; until then clients are told to try again.
type lateLive struct{ target atomic.Pointer[api.Live] }

func (l *lateLive) set(target api.Live) { l.target.Store(&target) }

func (l *lateLive) get() (api.Live, error) {
	if target := l.target.Load(); target != nil {
		return *target, nil
	}
	return nil, apierrors.NewServiceUnavailable("the instances are not known yet: this daemon is still starting, or runs without its controller")
}

// Logs gives the output of a container.
func (l *lateLive) Logs(ctx context.Context, namespace, pod, container string, o api.LogOptions) (io.ReadCloser, error) {
	target, err := l.get()
	if err != nil {
		return nil, err
	}
	return target.Logs(ctx, namespace, pod, container, o)
}

// Ended gives the pods of a service that are gone and whose logs can still be read.
func (l *lateLive) Ended(ctx context.Context, namespace, service string) ([]corev1.Pod, error) {
	target, err := l.get()
	if err != nil {
		return nil, err
	}
	return target.Ended(ctx, namespace, service)
}

// Exec runs a command in a container.
func (l *lateLive) Exec(ctx context.Context, namespace, pod, container string, o api.ExecOptions) error {
	target, err := l.get()
	if err != nil {
		return err
	}
	return target.Exec(ctx, namespace, pod, container, o)
}

// PortForward dials a port of a pod.
func (l *lateLive) PortForward(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	target, err := l.get()
	if err != nil {
		return nil, err
	}
	return target.PortForward(ctx, namespace, pod, port)
}
