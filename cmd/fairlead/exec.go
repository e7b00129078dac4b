package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	exitcode "k8s.io/client-go/util/exec"
)

func newExecCommand(t *terminal) *cobra.Command {
	var (
		target    clientFlags
		container string
		stdin     bool
		tty       bool
	)
	cmd := &cobra.Command{
		Use:   "exec SERVICE|INSTANCE -- COMMAND [ARGUMENT...]",
		Short: "Run a command inside an instance",
		Long: "Exec runs a command inside a running instance: the one named, else one of the newest revision of a service.\n" +
			"The exit code is that of the command.",
		Example: "  fairlead exec hello -- env\n  fairlead exec -it hello -- sh",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return withTry(usagef("%s takes a service or instance and a command", cmd.CommandPath()), "fairlead exec SERVICE -- COMMAND")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := target.dial(cmd)
			if err != nil {
				return err
			}
			pod, err := c.instance(cmd.Context(), target.namespace, args[0])
			if err != nil {
				return err
			}
			call := remoteCall{pod: pod, container: container, command: args[1:], out: t.out, err: t.err}
			if stdin {
				call.in = t.in
			}
			if tty {
				return c.execTerminal(cmd.Context(), call)
			}
			return c.exec(cmd.Context(), call)
		},
	}
	target.addTo(cmd.Flags())
	cmd.Flags().StringVarP(&container, "container", "c", "", "container (default: the first of yours)")
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "send standard input to the command")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal; standard input must be one")
	cmd.ValidArgsFunction = instanceNames(&target)
	return cmd
}

// remoteCall is one command to run inside an instance.
type remoteCall struct {
	pod       *corev1.Pod
	container string
	command   []string
	in        io.Reader
	out, err  io.Writer
	tty       bool
	size      remotecommand.TerminalSizeQueue
}

// exec runs a command inside an instance, over a WebSocket or, where the server has none, SPDY. A command that fails is
// an exitStatus with its code.
func (c *client) exec(ctx context.Context, call remoteCall) error {
	if call.container == "" {
		call.container = userContainer(call.pod)
	}
	options := &corev1.PodExecOptions{
		Container: call.container, Command: call.command, TTY: call.tty,
		Stdin: call.in != nil, Stdout: call.out != nil, Stderr: call.err != nil && !call.tty,
	}
	request := c.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(call.pod.Namespace).Name(call.pod.Name).
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec)
	modern, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, request.URL().String())
	if err != nil {
		return fmt.Errorf("exec in instance %s: %w", call.pod.Name, err)
	}
	old, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, request.URL())
	if err != nil {
		return fmt.Errorf("exec in instance %s: %w", call.pod.Name, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(modern, old, httpstream.IsUpgradeFailure)
	if err != nil {
		return fmt.Errorf("exec in instance %s: %w", call.pod.Name, err)
	}
	streams := remotecommand.StreamOptions{Stdin: call.in, Stdout: call.out, Tty: call.tty, TerminalSizeQueue: call.size}
	if !call.tty {
		streams.Stderr = call.err
	}
	err = executor.StreamWithContext(ctx, streams)
	var code exitcode.CodeExitError
	if errors.As(err, &code) {
		return exitStatus(code.Code)
	}
	if err == nil {
		return nil
	}
	return execError(call, err)
}

// execError says why a program could not be run at all, which runtimes tell in words only.
func execError(call remoteCall, err error) error {
	said := strings.ToLower(err.Error())
	switch {
	case strings.Contains(said, "is not valid for pod"):
		err = fmt.Errorf("instance %s has no container %s", call.pod.Name, call.container)
		return withTry(err, "-c %s", strings.Join(containerNames([]corev1.Pod{*call.pod}, queueProxy), " or -c "))
	case strings.Contains(said, "executable file"), strings.Contains(said, "no such file or directory"):
		return notExecutable{program: call.command[0], instance: call.pod.Name, err: err}
	case strings.Contains(said, "permission denied"), strings.Contains(said, "operation not permitted"), strings.Contains(said, "exec format error"):
		return notExecutable{program: call.command[0], instance: call.pod.Name, err: err, there: true}
	}
	return fmt.Errorf("exec in instance %s: %w", call.pod.Name, err)
}

// notExecutable says that an instance has no such program, or that it is there and cannot be run. It ends a command with the
// code that a shell would.
type notExecutable struct {
	program, instance string
	there             bool
	err               error
}

func (e notExecutable) Error() string {
	if e.there {
		return fmt.Sprintf("exec in instance %s: %s cannot be run", e.instance, e.program)
	}
	return fmt.Sprintf("exec in instance %s: it has no program %s that can be run", e.instance, e.program)
}
func (e notExecutable) Unwrap() error { return e.err }

// ExitCode is that of a shell.
func (e notExecutable) ExitCode() int {
	if e.there {
		return 126
	}
	return 127
}

// Try says why that is so often.
func (e notExecutable) Try() string {
	if e.there {
		return "a program, not a folder, for this kind of machine, with the right to execute it"
	}
	return "a full path; images of Go programs have no shell and no tools"
}

// execTerminal is exec with the terminal of this process: raw, and with its size as it changes.
func (c *client) execTerminal(ctx context.Context, call remoteCall) error {
	in, isFile := call.in.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return withTry(usagef("--tty needs --stdin and a terminal as standard input"), "fairlead exec -i %s -- %s", call.pod.Name, call.command[0])
	}
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call.tty, call.size = true, watchSize(ctx, in)
	err = c.exec(ctx, call)
	if restoreErr := term.Restore(int(in.Fd()), state); restoreErr != nil {
		return errors.Join(err, fmt.Errorf("restore the terminal: %w", restoreErr))
	}
	return err
}

// sizeWatch tells the size of a terminal, first as it is and then whenever it changes.
type sizeWatch struct {
	ctx     context.Context
	file    *os.File
	changed chan os.Signal
}

// watchSize begins with the size as it is; it ends with ctx.
func watchSize(ctx context.Context, file *os.File) *sizeWatch {
	w := &sizeWatch{ctx: ctx, file: file, changed: make(chan os.Signal, 1)}
	w.changed <- syscall.SIGWINCH
	signal.Notify(w.changed, syscall.SIGWINCH)
	context.AfterFunc(ctx, func() { signal.Stop(w.changed) })
	return w
}

// Next blocks until there is a size to tell; nil is the end.
func (w *sizeWatch) Next() *remotecommand.TerminalSize {
	select {
	case <-w.ctx.Done():
		return nil
	case <-w.changed:
	}
	width, height, err := term.GetSize(int(w.file.Fd()))
	if err != nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: uint16(width), Height: uint16(height)}
}
