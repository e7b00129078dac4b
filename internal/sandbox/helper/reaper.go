package helper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reaper takes away children that nobody else waits for: what a runtime leaves behind when it fails or is killed comes to
// the helper, and a container cannot end before all its processes have been taken away.
type reaper struct {
	// creating is held for reading while a runtime creates a container, whose process is not known before it is done.
	creating sync.RWMutex

	mu    sync.Mutex
	owned map[int]bool // somebody waits for these
}

func newReaper() *reaper { return &reaper{owned: map[int]bool{}} }

// run runs a command to its end, as cmd.Run does.
func (r *reaper) run(cmd *exec.Cmd) error { return r.runBy(cmd, cmd.Start) }

// runBy is run for a command that is started in a way of its own.
func (r *reaper) runBy(cmd *exec.Cmd, start func() error) error {
	r.mu.Lock()
	err := start()
	if err != nil {
		r.mu.Unlock()
		return err
	}
	pid := cmd.Process.Pid
	r.owned[pid] = true
	r.mu.Unlock()
	err = cmd.Wait()
	r.disown(pid)
	return err
}

// start starts a process that the caller waits for and disowns.
func (r *reaper) start(name string, args []string, attr *os.ProcAttr) (*os.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(name, args, attr)
	if err != nil {
		return nil, err
	}
	r.owned[p.Pid] = true
	return p, nil
}

func (r *reaper) own(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owned[pid] = true
}

func (r *reaper) disown(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.owned, pid)
}

// serve reaps until ctx ends.
func (r *reaper) serve(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	const again = 10 * time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		case <-timer.C:
		}
		if r.reap() {
			timer.Reset(again)
		}
	}
}

// reap takes away strays until it meets a child that somebody waits for, which hides those behind it: then it gives true.
func (r *reaper) reap() (hidden bool) {
	r.creating.Lock()
	defer r.creating.Unlock()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		pid := childOf(&info)
		if err != nil || pid == 0 {
			return false
		}
		r.mu.Lock()
		owned := r.owned[pid]
		if !owned {
			unix.Wait4(pid, nil, unix.WNOHANG, nil) // it has ended already
		}
		r.mu.Unlock()
		if owned {
			return true
		}
	}
}

// childOf reads si_pid, which follows three numbers and padding in the kernel's structure on 64-bit machines.
func childOf(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16)))
}
