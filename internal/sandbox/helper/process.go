package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// processDriver is the driver that needs no OCI runtime.
const processDriver = "process"

// processCreate starts a launcher and waits until it has made its container.
func (s *server) processCreate(ctx context.Context, c *container, stdout, stderr *os.File) error {
	spec, err := readSpec(c.args.Bundle)
	if err != nil {
		return err
	}
	if err := s.limit(c.args.Cgroup, spec.Linux.Resources); err != nil {
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

// processExec gives the command that runs a process in a launched container.
func (s *server) processExec(ctx context.Context, c *container, a ExecArgs, processFile string) (*exec.Cmd, error) {
	if a.Console != "" {
		return nil, errors.New("the process driver gives no terminal: run the command without one")
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1], enterPrefix+strconv.Itoa(c.created.Pid)+":"+processFile)
	cmd.Env = []string{}
	return cmd, nil
}

// enter joins the namespaces of a launched container and runs a process there to its end.
func enter(args string) int {
	code, err := enterAndRun(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead:", err)
		return 126
	}
	return code
}

func enterAndRun(args string) (int, error) {
	runtime.LockOSThread()
	pid, file, _ := strings.Cut(args, ":")
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var p specs.Process
	if err := json.Unmarshal(data, &p); err != nil {
		return 0, err
	}
	pidFile, err := os.Create(strings.TrimSuffix(file, ".json") + ".pid")
	if err != nil {
		return 0, err
	}
	defer pidFile.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its root cannot change mount namespaces
		return 0, err
	}
	var fds []int
	for _, ns := range []string{"net", "uts", "ipc", "pid", "mnt"} { // mnt last: it hides the others' paths
		fd, err := unix.Open(filepath.Join("/proc", pid, "ns", ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return 0, fmt.Errorf("entering the container: %w", err)
		}
	}
	path, err := lookPath(&p)
	if err != nil {
		return 0, err
	}
	if err := dropCapabilities(&p); err != nil {
		return 0, err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	child, err := syscall.ForkExec(path, p.Args, &syscall.ProcAttr{
		Dir: p.Cwd, Env: p.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.AdditionalGids},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", path, err)
	}
	if _, err := pidFile.WriteString(strconv.Itoa(child)); err != nil {
		return 0, err
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(child, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
