package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	machineryremote "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
	serve "k8s.io/kubelet/pkg/cri/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// streams carries terminals and forwarded ports between clients and Live, in the protocols that kubelets speak. It is served
// on a listener in memory as well, for the proxies that need somebody to dial.
type streams struct {
	live      Live
	listener  *memoryListener
	transport *http.Transport
	mux       *http.ServeMux
}

func newStreams(live Live) *streams {
	s := &streams{live: live, listener: newMemoryListener(), mux: http.NewServeMux()}
	s.transport = &http.Transport{DialContext: s.listener.dial}
	s.mux.HandleFunc("/exec/{namespace}/{pod}", s.exec)
	s.mux.HandleFunc("/attach/{namespace}/{pod}", s.attach)
	s.mux.HandleFunc("/portforward/{namespace}/{pod}", s.forward)
	return s
}

// ServeHTTP ends what it runs when the caller is gone.
func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w, r, gone := untilGone(w, r)
	defer gone()
	s.mux.ServeHTTP(w, r)
}

func (s *streams) exec(w http.ResponseWriter, r *http.Request) {
	options, err := serve.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	q := r.URL.Query()
	serve.ServeExec(w, r, runner{s.live, r.PathValue("namespace")}, r.PathValue("pod"), "", q.Get("container"), q["command"], options,
		streamIdle, streamCreation, machineryremote.SupportedStreamingProtocols)
}

func (s *streams) attach(w http.ResponseWriter, r *http.Request) {
	options, err := serve.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	serve.ServeAttach(w, r, runner{s.live, r.PathValue("namespace")}, r.PathValue("pod"), "", r.URL.Query().Get("container"), options,
		streamIdle, streamCreation, machineryremote.SupportedStreamingProtocols)
}

func (s *streams) forward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{s.live, r.PathValue("namespace")}, r.PathValue("pod"), "", options,
		streamIdle, streamCreation, portforward.SupportedProtocols)
}

// runner runs commands through Live.
type runner struct {
	live      Live
	namespace string
}

// ExecInContainer runs a command.
func (c runner) ExecInContainer(ctx context.Context, pod string, _ types.UID, container string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	err := c.live.Exec(ctx, c.namespace, pod, container, execOptions(ctx, command, in, out, errs, tty, resize))
	var exit *ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", exit.Code), Code: exit.Code}
	}
	return err
}

// AttachContainer connects to the process that runs.
func (c runner) AttachContainer(ctx context.Context, pod string, _ types.UID, container string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	err := c.live.Exec(ctx, c.namespace, pod, container, execOptions(ctx, nil, in, out, errs, tty, resize))
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return errors.New(status.Status().Message)
	}
	return err
}

func execOptions(ctx context.Context, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) ExecOptions {
	o := ExecOptions{Command: command, TTY: tty}
	// A nil stream in an interface would not be nil.
	if in != nil {
		o.Stdin = in
	}
	if out != nil {
		o.Stdout = out
	}
	if errs != nil && !tty {
		o.Stderr = errs
	}
	if tty && resize != nil {
		o.Resize = sizes(ctx, resize)
	}
	return o
}

// sizes passes sizes on until there are no more or ctx ends.
func sizes(ctx context.Context, from <-chan remotecommand.TerminalSize) <-chan TerminalSize {
	to := make(chan TerminalSize)
	go func() {
		defer close(to)
		for {
			select {
			case size, ok := <-from:
				if !ok {
					return
				}
				select {
				case to <- TerminalSize{Width: size.Width, Height: size.Height}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return to
}

// forwarder carries connections through Live.
type forwarder struct {
	live      Live
	namespace string
}

// PortForward copies between a client's stream and a port until both have ended.
func (f forwarder) PortForward(ctx context.Context, pod string, _ types.UID, port int32, stream io.ReadWriteCloser) error {
	conn, err := f.live.PortForward(ctx, f.namespace, pod, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite())
		}
		sent <- err
	}()
	_, err = io.Copy(stream, conn)
	stream.Close()
	conn.Close()
	<-sent
	if err != nil {
		return fmt.Errorf("api: forward port %d of %s/%s: %w", port, f.namespace, pod, err)
	}
	return nil
}
