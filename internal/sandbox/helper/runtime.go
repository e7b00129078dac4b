package helper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

// runtimeRoot is where a runtime keeps its state.
func (s *server) runtimeRoot(c *container) string {
	return filepath.Join(s.opts.Dir, "runtime", c.args.Runtime)
}

func (s *server) command(ctx context.Context, c *container, args ...string) *exec.Cmd {
	return s.commandLog(ctx, c, filepath.Join(c.args.Bundle, "runtime.log"), args...)
}

// commandLog is a call of the runtime that says in logFile why it failed.
func (s *server) commandLog(ctx context.Context, c *container, logFile string, args ...string) *exec.Cmd {
	all := []string{"--root", s.runtimeRoot(c), "--log", logFile, "--log-format", "json"}
	switch c.args.Runtime {
	case "crun":
		if s.tree.Mode() == cgroup.None || s.tree.Delegated() {
			all = append(all, "--cgroup-manager=disabled")
		}
	case gvisor:
		all = append(all, gvisorFlags(s.tree)...)
	}
	binary := c.args.Binary
	if c.args.Runtime != gvisor {
		binary = s.sealed.path(binary)
	}
	cmd := exec.CommandContext(ctx, binary, append(all, args...)...)
	cmd.Args[0] = c.args.Binary
	return cmd
}

func (s *server) runtimeCreate(ctx context.Context, c *container, stdout, stderr *os.File) error {
	if c.args.Runtime == processDriver {
		return s.processCreate(ctx, c, stdout, stderr)
	}
	if err := os.MkdirAll(s.runtimeRoot(c), 0o700); err != nil {
		return err
	}
	if c.args.Runtime == gvisor {
		spec, err := readSpec(c.args.Bundle)
		if err != nil {
			return err
		}
		if err := findProgram(spec, spec.Root.Path); err != nil {
			return err
		}
	}
	pidFile := filepath.Join(c.args.Bundle, "pid")
	cmd := s.command(ctx, c, "create", "--bundle", c.args.Bundle, "--pid-file", pidFile, c.id)
	cmd.Stdout, cmd.Stderr = stdout, stderr // standard input is /dev/null: at its end
	if s.tree.Delegated() {
		if err := s.limit(c.args.Cgroup, c.args.Resources); err != nil {
			return err
		}
	}
	if err := s.runInside(cmd, c); err != nil {
		return runtimeError("create", c, filepath.Join(c.args.Bundle, "runtime.log"), err)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("reading the container's process id: %w", err)
	}
	if c.created.Pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return fmt.Errorf("reading the container's process id: %w", err)
	}
	switch c.args.Runtime {
	case "crun", "runc":
		c.created.Fifo = filepath.Join(s.runtimeRoot(c), c.id, "exec.fifo")
		c.created.FifoReads = c.args.Runtime == "runc"
	case gvisor:
		err = s.gvisorCreated(c)
	}
	return err
}

func (s *server) start(ref Ref) error {
	i, c, err := s.container(ref)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	if c.args.Runtime == gvisor {
		return s.gvisorStart(ctx, i, c)
	}
	if out, err := s.output(s.command(ctx, c, "start", c.id)); err != nil {
		return runtimeError("start: "+out, c, filepath.Join(c.args.Bundle, "runtime.log"), err)
	}
	return nil
}

// runtimeDelete removes the runtime's state of a container, which may not have got as far as having one.
func (s *server) runtimeDelete(ctx context.Context, c *container) error {
	if c.args.Runtime == processDriver {
		return nil // its control group has been killed, and there is no other state
	}
	state := filepath.Join(s.runtimeRoot(c), c.id)
	if _, err := os.Stat(state); errors.Is(err, os.ErrNotExist) && c.args.Runtime != gvisor {
		return nil
	}
	if out, err := s.output(s.command(ctx, c, "delete", "--force", c.id)); err != nil {
		if _, gone := os.Stat(state); errors.Is(gone, os.ErrNotExist) {
			return nil
		}
		return runtimeError("delete: "+out, c, filepath.Join(c.args.Bundle, "runtime.log"), err)
	}
	return nil
}

// output runs a command and gives what it printed.
func (s *server) output(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := s.reaper.run(cmd)
	return out.String(), err
}

// runInside runs a runtime that makes processes of a container: in the container's control group if that was delegated, because a runtime
// then leaves control groups alone.
func (s *server) runInside(cmd *exec.Cmd, c *container) error {
	if !s.tree.Delegated() {
		return s.reaper.run(cmd)
	}
	return s.reaper.runBy(cmd, func() error {
		s.staying.Lock()
		defer s.staying.Unlock()
		return s.tree.Start(cmd, c.args.Cgroup, s.ownGroup())
	})
}
