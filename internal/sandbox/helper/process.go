package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// processDriver is the driver that needs no OCI runtime.
const processDriver = "process"

// processCreate starts a launcher and waits until it has made its container.
func (s *server) processCreate(ctx context.Context, c *container, stdout, stderr *os.File) error {
	if err := s.limit(c.args.Cgroup, c.args.Resources); err != nil {
		return err
	}
	fifo := filepath.Join(c.args.Bundle, fifoName)
	if err := errors.Join(os.RemoveAll(fifo), unix.Mkfifo(fifo, 0o600)); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1], launchPrefix+c.args.Bundle)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdout, stderr, []*os.File{w}
	cmd.Env = []string{} // nothing of the daemon's
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("starting a process: %w", err)
	}
	pid := cmd.Process.Pid
	s.reaper.own(pid)
	failed := s.enter(c.args.Cgroup, pid)
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	if said, err := io.ReadAll(r); len(said) > 0 || err != nil {
		failed = errors.Join(failed, err)
		if len(said) > 0 {
			failed = errors.New(string(said))
		}
	}
	if failed != nil {
		err := cmd.Process.Kill()
		cmd.Wait() // it was killed
		s.reaper.disown(pid)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		return errors.Join(failed, err)
	}
	c.created = Created{Pid: pid, Fifo: fifo}
	return cmd.Process.Release() // watch waits for it
}

func (s *server) limit(path string, r *specs.LinuxResources) error {
	if s.tree.Mode() == cgroup.None || r == nil {
		return nil
	}
	l := cgroup.Limits{}
	if r.Memory != nil && r.Memory.Limit != nil {
		l.MemoryBytes = *r.Memory.Limit
	}
	if r.CPU != nil && r.CPU.Quota != nil && r.CPU.Period != nil {
		l.CPUQuota, l.CPUPeriod = *r.CPU.Quota, int64(*r.CPU.Period)
	}
	if r.CPU != nil && r.CPU.Shares != nil {
		l.CPUShares = int64(*r.CPU.Shares)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		l.Pids = *r.Pids.Limit
	}
	if err := s.tree.Make(path); err != nil {
		return err
	}
	return s.tree.Limit(path, l)
}

func (s *server) enter(path string, pid int) error {
	if s.tree.Mode() == cgroup.None {
		return nil
	}
	return s.tree.Enter(path, pid)
}
