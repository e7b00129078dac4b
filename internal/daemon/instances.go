package daemon

import (
	"context"
	"net"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/controller"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// instances answers the API's questions about what runs behind pods from the controller's instances.
type instances struct {
	controller *controller.Controller
	requests   *requestLog
}

// Exec runs a command in a container.
func (i instances) Exec(ctx context.Context, namespace, pod, container string, o api.ExecOptions) error {
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
