package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// container is one run of a container.
type container struct {
	args    CreateArgs
	id      string // what the runtime calls it
	created Created
	process *os.File // pidfd
	gofer   int      // process beside it that opens files for gVisor; 0: there is none
	pumps   sync.WaitGroup
	done    chan struct{} // closed when exit is set

	mu        sync.Mutex
	unstarted bool // its program could not be run
	exit      *Exit
}

func (c *container) exited() *Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// commandTime bounds one call of the runtime.
const commandTime = 60 * time.Second

func (s *server) create(a CreateArgs) (any, []*os.File, error) {
	i, err := s.find(a.Instance)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	release, err := s.slot(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()

	i.mu.Lock()
	defer i.mu.Unlock()
	s.reaper.creating.RLock()
	defer s.reaper.creating.RUnlock()
	if i.containers[a.Container] != nil {
		return nil, nil, fmt.Errorf("container %s of %s is there already", a.Container, a.Instance)
	}
	c := &container{args: a, id: a.Instance + "." + a.Container, done: make(chan struct{})}
	if err := s.mountRoot(i, c); err != nil {
		return nil, nil, err
	}
	if err := s.launch(ctx, i, c); err != nil {
		s.cleanup(i, c)
		return nil, nil, err
	}
	i.containers[a.Container] = c
	s.reaper.own(c.created.Pid)
	if c.gofer != 0 {
		s.reaper.own(c.gofer)
		go s.watchGofer(c)
	}
	go s.watch(c)
	return c.created, nil, nil
}

// launch has the runtime create the container, whose output goes through pipes into the log.
func (s *server) launch(ctx context.Context, i *instance, c *container) error {
	var writers []*os.File
	for _, stream := range []logs.Stream{logs.Stdout, logs.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(writers)
			return err
		}
		writers = append(writers, w)
		c.pumps.Go(func() { pump(r, i.log, c.args.Container, stream, s.log) })
	}
	err := i.own(c.args.UID, writers...)
	if err == nil {
		err = s.runtimeCreate(ctx, c, writers[0], writers[1])
	}
	closeAll(writers)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(c.created.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("opening the container's process %d: %w", c.created.Pid, err)
	}
	c.process = os.NewFile(uintptr(fd), "pidfd")
	return nil
}

// watch waits for the end of a container's first process.
func (s *server) watch(c *container) {
	exit := Exit{Code: 255}
	raw, err := c.process.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool {
			var status unix.WaitStatus
			pid, werr := unix.Wait4(c.created.Pid, &status, unix.WNOHANG, nil)
			switch {
			case errors.Is(werr, unix.EINTR), werr == nil && pid == 0:
				return false
			case werr != nil:
				// Not our child: nobody can tell how it ended.
				return unix.Kill(c.created.Pid, 0) != nil
			case status.Signaled():
				exit.Signal = int(status.Signal())
				exit.Code = 128 + exit.Signal
			default:
				exit.Code = status.ExitStatus()
				if c.args.Runtime == gvisor {
					exit.Signal = gvisorSignal(exit.Code)
				}
			}
			return true
		})
	}
	if err != nil {
		s.log.Error("waiting for a container", "instance", c.args.Instance, "container", c.args.Container, "err", err)
	}
	s.reaper.disown(c.created.Pid)
	s.ended(c, exit)
}

// ended records an exit after the last output has been read.
func (s *server) ended(c *container, exit Exit) {
	exit.Ended = time.Now()
	if s.tree.Mode() != cgroup.None {
		b := s.tree.Breaches(c.args.Cgroup)
		exit.OOMKilled = b.OOMKills > 0 && exit.Code != 0
		exit.PidsFull = b.Pids
	}
	drained := make(chan struct{})
	go func() { c.pumps.Wait(); close(drained) }()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C: // a process that left the container's namespaces still holds the pipe
	}
	c.mu.Lock()
	if c.unstarted {
		exit.Code, exit.Signal = 126, 0 // as a shell says it
	}
	c.exit = &exit
	c.mu.Unlock()
	close(c.done)
	s.tell(Event{Ref: c.args.Ref, Run: c.args.Run, Exit: exit})
}

func (s *server) container(ref Ref) (*instance, *container, error) {
	i, err := s.find(ref.Instance)
	if err != nil {
		return nil, nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.containers[ref.Container]
	if c == nil {
		return nil, nil, fmt.Errorf("the sandbox helper has no container %s of %s: %w", ref.Container, ref.Instance, fs.ErrNotExist)
	}
	return i, c, nil
}

func (s *server) signal(ref Ref, signal unix.Signal) error {
	_, c, err := s.container(ref)
	if err != nil {
		return err
	}
	return c.signal(signal)
}

func (c *container) signal(signal unix.Signal) error {
	return withFDs([]*os.File{c.process}, nil, func(fds []int) error {
		err := unix.PidfdSendSignal(fds[0], signal, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("sending signal %d to container %s of %s: %w", signal, c.args.Container, c.args.Instance, err)
		}
		return nil
	})
}

// remove ends a container and takes away everything of it. One that is not there is no error.
func (s *server) remove(ref Ref) error {
	i, c, err := s.container(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all []error
	if c.exited() == nil {
		all = append(all, c.signal(unix.SIGKILL))
		if s.tree.Mode() != cgroup.None {
			all = append(all, s.tree.Kill(c.args.Cgroup, 10*time.Second))
		}
		<-c.done
	}
	all = append(all, s.cleanup(i, c), c.process.Close())
	i.mu.Lock()
	delete(i.containers, ref.Container)
	i.mu.Unlock()
	return errors.Join(all...)
}

// cleanup takes away what create made around the process.
func (s *server) cleanup(i *instance, c *container) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	all := []error{s.runtimeDelete(ctx, c)}
	if s.tree.Mode() != cgroup.None {
		all = append(all, s.tree.Remove(c.args.Cgroup, 5*time.Second))
	}
	if err := unix.Unmount(i.seen(rootDir(c.args.Bundle)), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		all = append(all, fmt.Errorf("unmounting the root of %s: %w", c.id, err))
	}
	all = append(all, os.RemoveAll(filepath.Join(i.seen(ScratchDir(i.args.Dir)), c.args.Container)))
	return errors.Join(all...)
}

// runtimeError takes the reason out of the log that a runtime wrote, else out of the error itself.
func runtimeError(what string, c *container, logFile string, err error) error {
	data, _ := os.ReadFile(logFile) // no log, no better reason
	var entry struct{ Level, Msg string }
	reason := ""
	for dec := json.NewDecoder(newReader(data)); dec.Decode(&entry) == nil; {
		if entry.Level == "error" || entry.Level == "fatal" {
			reason = entry.Msg
		}
	}
	if reason == "" {
		reason = err.Error()
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			reason = string(exit.Stderr)
		}
	}
	return fmt.Errorf("%s %s: %s", c.args.Runtime, what, reason)
}
