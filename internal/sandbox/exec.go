package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// probeOutput is how much of the output of an exec probe is kept.
const probeOutput = 1024

// probeExec runs a command for a probe.
func (i *Instance) probeExec(ctx context.Context, container string, args []string) error {
	out := &limitedBuffer{}
	code, err := i.Exec(ctx, container, ExecOptions{Args: args, Stdout: out, Stderr: out})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("command %q ended with exit code %d: %s", args[0], code, strings.TrimSpace(out.String()))
	}
	return nil
}

type limitedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p[:min(len(p), probeOutput-len(l.b))]...)
	return len(p), nil
}

func (l *limitedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.b), "\uFFFD")
}

// ExecOptions says what Exec runs. Streams may be nil.
type ExecOptions struct {
	Args   []string
	Env    []string // besides that of the container
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // nil with TTY: all output is on Stdout
	TTY    bool
	Resize <-chan Size // of the terminal; read until the process ends
}

// Size is that of a terminal, in characters.
type Size struct{ Width, Height uint16 }

// Exec runs a process in a container, with its user, limits and hardening, and gives its exit code. When ctx ends the process is killed.
// ErrNotFound if there is no such container; an empty name means the first. ErrPhase before Start and while frozen.
func (i *Instance) Exec(ctx context.Context, container string, opts ExecOptions) (int, error) {
	e, err := i.prepareExec(ctx, container, opts)
	if err != nil {
		return 0, fmt.Errorf("instance %s: exec: %w", i.id, err)
	}
	run := e.pipes
	if opts.TTY {
		run = e.terminal
	}
	exit, err := run(ctx, opts)
	if err != nil {
		return 0, fmt.Errorf("instance %s: exec: %w", i.id, err)
	}
	return exit.Code, nil
}

// execution is one call of Exec.
type execution struct {
	i    *Instance
	conn *helper.Client
	args helper.ExecArgs
}

func (i *Instance) prepareExec(ctx context.Context, container string, opts ExecOptions) (*execution, error) {
	if len(opts.Args) == 0 {
		return nil, errors.New("there is no command")
	}
	if container == "" {
		container = i.spec.Containers[0].Name
	}
	i.m.mu.Lock()
	conn := i.m.helper
	i.m.mu.Unlock()
	if conn == nil {
		return nil, ErrClosed
	}
	// Some runtimes would wait for the instance to be thawed.
	if phase := i.State().Phase; phase == PhaseCreated || phase == PhaseFrozen {
		return nil, fmt.Errorf("it is %s: %w", phase, ErrPhase)
	}
	e := &execution{i: i, conn: conn, args: helper.ExecArgs{
		Ref: helper.Ref{Instance: i.id, Container: container}, ID: strings.ToLower(rand.Text()[:10])}}
	// Probers call this while their owner may be waiting for them, so the owner is not asked.
	for _, c := range append(append([]Container{}, i.spec.Init...), i.spec.Containers...) {
		if c.Name != container {
			continue
		}
		in, err := i.execInput(c, opts)
		if err != nil {
			return nil, err
		}
		process, err := bundle.Process(in)
		if err != nil {
			return nil, err
		}
		e.args.Process, err = json.Marshal(process)
		return e, err
	}
	return nil, fmt.Errorf("container %q: %w", container, ErrNotFound)
}

func (i *Instance) execInput(c Container, opts ExecOptions) (bundle.Input, error) {
	l := &life{i: i}
	in, err := l.bundleInput(&run{spec: c})
	if err != nil {
		return in, err
	}
	in.Args, in.Terminal = opts.Args, opts.TTY
	in.Env = append(append([]string{}, in.Env...), opts.Env...)
	return in, nil
}

// call has the helper run the process and kills it when ctx ends.
func (e *execution) call(ctx context.Context, files ...*os.File) (helper.Exit, error) {
	ended := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		select {
		case <-ctx.Done():
			kill, cancel := call()
			defer cancel()
			if err := e.conn.KillExec(kill, e.args.Ref, e.args.ID); err != nil && !errors.Is(err, helper.ErrLost) {
				e.i.m.log.Warn("killing an exec process", "instance", e.i.id, "err", err)
			}
		case <-ended:
		}
	})
	exit, err := e.conn.Exec(context.WithoutCancel(ctx), e.args, files...)
	close(ended)
	killer.Wait()
	if ctx.Err() != nil {
		return exit, context.Cause(ctx)
	}
	return exit, err
}

// pipes runs a process without a terminal.
func (e *execution) pipes(ctx context.Context, opts ExecOptions) (helper.Exit, error) {
	var theirs, ours []*os.File
	defer func() {
		for _, f := range append(theirs, ours...) {
			f.Close()
		}
	}()
	stdin, err := os.Open(os.DevNull)
	if opts.Stdin != nil {
		if err == nil {
			stdin.Close()
		}
		var w *os.File
		if stdin, w, err = os.Pipe(); err == nil {
			ours = append(ours, w)
			go func() { // ends when the process does, or when the caller's reader does: it cannot be interrupted
				io.Copy(w, opts.Stdin)
				w.Close()
			}()
		}
	}
	if err != nil {
		return helper.Exit{}, err
	}
	theirs = append(theirs, stdin)
	var copies sync.WaitGroup
	for _, to := range []io.Writer{opts.Stdout, opts.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return helper.Exit{}, err
		}
		theirs, ours = append(theirs, w), append(ours, r)
		if to == nil {
			to = io.Discard
		}
		copies.Go(func() { io.Copy(to, r) })
	}
	exit, err := e.call(ctx, theirs...)
	for _, f := range theirs {
		f.Close()
	}
	theirs = nil
	stop := context.AfterFunc(ctx, func() {
		for _, f := range ours {
			f.Close()
		}
	})
	defer stop()
	copies.Wait() // until every process that holds the pipes has ended, or ctx has
	return exit, err
}
