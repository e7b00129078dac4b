package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// execution is a process that was started in a running container.
type execution struct {
	pidFile string
	cancel  context.CancelFunc
	done    chan struct{} // closed when it has ended
}

// insideFile holds the number that the process has in the container, for gVisor.
func (e *execution) insideFile() string { return e.pidFile + "-inside" }

// exec runs a process in a container to its end.
func (s *server) exec(a ExecArgs, in []*os.File) (any, []*os.File, error) {
	i, c, err := s.container(a.Ref)
	if err != nil {
		return nil, nil, err
	}
	base := filepath.Join(c.args.Bundle, "exec-"+a.ID)
	processFile := base + ".json"
	e := &execution{pidFile: base + ".pid", done: make(chan struct{})}
	defer close(e.done)
	defer os.Remove(processFile)
	defer os.Remove(e.pidFile)
	defer os.Remove(e.insideFile())
	defer os.Remove(base + ".log")
	if err := os.WriteFile(processFile, a.Process, 0o600); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e.cancel = cancel
	i.mu.Lock()
	i.execs[a.ID] = e
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		delete(i.execs, a.ID)
		i.mu.Unlock()
	}()
	args := []string{"exec", "--process", processFile, "--pid-file", e.pidFile}
	if a.Console != "" && c.args.Runtime != gvisor {
		args = append(args, "--tty", "--console-socket", a.Console)
		if c.args.Runtime == "runc" { // it hands a terminal over only if it need not wait
			args = append(args, "--detach")
		}
	}
	if c.args.Runtime == gvisor {
		args = append(args, "--internal-pid-file", e.insideFile())
	}
	cmd := s.commandLog(ctx, c, base+".log", append(args, c.id)...)
	if c.args.Runtime == processDriver {
		if cmd, err = s.processExec(ctx, c, a, base); err != nil {
			return nil, nil, err
		}
	}
	if a.Console != "" && c.args.Runtime == gvisor {
		terminal, err := gvisorTerminal(a, cmd)
		if err != nil {
			return nil, nil, err
		}
		defer terminal.Close()
	}
	if len(in) == 3 {
		if err := errors.Join(i.ownFor(a.Process, in...), blocking(in)); err != nil {
			return nil, nil, err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in[0], in[1], in[2]
	}
	exit := Exit{}
	if slices.Contains(cmd.Args, "--detach") {
		exit.Code, err = s.runDetached(cmd, c, e.pidFile)
	} else if c.args.Runtime == processDriver {
		err = s.reaper.run(cmd) // it enters the control group itself
	} else {
		err = s.runInside(cmd, c)
	}
	exit.Ended = time.Now()
	var failed *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		if info, serr := os.Stat(base + ".log"); serr == nil && info.Size() > 0 && !started(e.pidFile) {
			return nil, nil, runtimeError("exec", c, base+".log", err)
		}
		exit.Code = failed.ExitCode()
		if ws, ok := failed.Sys().(unix.WaitStatus); ok && ws.Signaled() {
			exit.Signal = int(ws.Signal())
			exit.Code = 128 + exit.Signal
		}
	default:
		return nil, nil, fmt.Errorf("running %s exec: %w", c.args.Runtime, err)
	}
	return exit, nil, nil
}

// blocking makes files such as programs expect them. A pipe that a Go program made does not block, and that is a mark of the pipe's
// end, which goes with it to whoever receives it: a program would get EAGAIN for input that is late and for output that is fast.
func blocking(files []*os.File) error {
	return withFDs(files, nil, func(fds []int) error {
		for _, fd := range fds {
			if err := unix.SetNonblock(fd, false); err != nil {
				return fmt.Errorf("making a stream block: %w", err)
			}
		}
		return nil
	})
}

// runDetached runs a runtime that leaves a process behind, which comes to the helper, and waits for that. It gives its exit code.
func (s *server) runDetached(cmd *exec.Cmd, c *container, pidFile string) (int, error) {
	pid, err := func() (int, error) {
		s.reaper.creating.RLock()
		defer s.reaper.creating.RUnlock()
		if err := s.runInside(cmd, c); err != nil {
			return 0, err
		}
		data, err := os.ReadFile(pidFile)
		if err != nil {
			return 0, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err == nil {
			s.reaper.own(pid)
		}
		return pid, err
	}()
	if err != nil {
		return 0, err
	}
	defer s.reaper.disown(pid)
	return waitChild(pid), nil
}

// started says whether the runtime got as far as having a process.
func started(pidFile string) bool {
	info, err := os.Stat(pidFile)
	return err == nil && info.Size() > 0
}

// killExec ends a process that exec runs; one that has ended already is no error.
func (s *server) killExec(a ExecArgs) error {
	i, c, err := s.container(a.Ref)
	if err != nil {
		return err
	}
	i.mu.Lock()
	e := i.execs[a.ID]
	i.mu.Unlock()
	if e == nil {
		return nil
	}
	if c.args.Runtime == gvisor {
		return s.gvisorKill(c, e)
	}
	data, err := os.ReadFile(e.pidFile)
	if err == nil {
		if pid, perr := strconv.Atoi(strings.TrimSpace(string(data))); perr == nil && pid > 1 {
			err = unix.Kill(pid, unix.SIGKILL)
		}
	}
	if err != nil {
		e.cancel() // the runtime has not started it yet
	}
	return nil
}
