package daemon

import (
	"context"
	"errors"
	"io"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/controller"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// instances answers the API's questions about what runs behind pods from the controller's instances.
type instances struct {
	controller *controller.Controller
	requests   *requestLog
}

// Exec runs a command in a container, or shows what the container's program says from now on.
func (i instances) Exec(ctx context.Context, namespace, pod, container string, o api.ExecOptions) error {
	if len(o.Command) == 0 {
		return i.attach(ctx, namespace, pod, container, o)
	}
	instance, err := i.controller.Pod(namespace, pod)
	if err != nil {
		return err
	}
	code, err := instance.Exec(ctx, container, sandbox.ExecOptions{
		Args: o.Command, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY, Resize: sizes(ctx, o.Resize),
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return &api.ExitError{Code: code}
	}
	return nil
}

// attach copies what a container writes from now on, until its instance has ended or the caller is gone. The container's standard
// input is at its end, as Knative wants it, so that what the caller would write is not read.
func (i instances) attach(ctx context.Context, namespace, pod, container string, o api.ExecOptions) error {
	group, reading := errgroup.WithContext(ctx)
	for stream, to := range map[logs.Stream]io.Writer{logs.Stdout: o.Stdout, logs.Stderr: o.Stderr} {
		if to == nil {
			continue
		}
		from, err := i.Logs(reading, namespace, pod, container, api.LogOptions{Follow: true, Stdout: stream == logs.Stdout, Stderr: stream == logs.Stderr})
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			_, err := io.Copy(caller{to}, from)
			return errors.Join(err, from.Close())
		})
	}
	if err := group.Wait(); !errors.Is(err, errCallerGone) && ctx.Err() == nil {
		return err
	}
	return nil
}

// errCallerGone says that the one who is shown something does not take it any more, which is how an attachment usually ends.
var errCallerGone = errors.New("the caller is gone")

// caller tells the errors of who is written to from those of what is read.
type caller struct{ io.Writer }

func (c caller) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if err != nil {
		return n, errCallerGone
	}
	return n, nil
}

// sizes passes on the sizes of a terminal until ctx ends.
func sizes(ctx context.Context, from <-chan api.TerminalSize) <-chan sandbox.Size {
	if from == nil {
		return nil
	}
	to := make(chan sandbox.Size)
	go func() {
		defer close(to)
		for {
			select {
			case size, open := <-from:
				if !open {
					return
				}
				select {
				case to <- sandbox.Size(size):
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

// PortForward dials a port of a pod.
func (i instances) PortForward(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	return i.controller.PortForward(ctx, namespace, pod, port)
}
