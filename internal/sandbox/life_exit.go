package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// Delays between restarts, as a kubelet has them.
const (
	firstRestartDelay = 10 * time.Second
	maxRestartDelay   = 5 * time.Minute
	quietTime         = 10 * time.Minute
)

// openFifo lets a created container go on. A runtime whose container waits to write is read from, the others are written to.
func openFifo(path string, reads bool) error {
	flags := os.O_WRONLY
	if reads {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) {
		return errors.New("its process has ended")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b := []byte{0}
	if reads {
		if err := f.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		_, err = readFifo(f, b)
	} else {
		_, err = f.Write(b)
	}
	if err != nil {
		return err
	}
	return os.Remove(path) // what the runtime's own start does: a container without its fifo is a running one
}

// readFifo waits for the other side to open, before which reading gives the end of the file.
func readFifo(f *os.File, b []byte) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	fds := []unix.PollFd{{Events: unix.POLLIN}}
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, err = unix.Poll(fds, 5000)
	})
	if err != nil {
		return 0, err
	}
	n, err := f.Read(b)
	if errors.Is(err, io.EOF) {
		return 0, errors.New("its process has ended")
	}
	return n, err
}

// record notes how a run ended and says which container it was; nil if it is a run of the past.
func (l *life) record(e helper.Event) *run {
	c := l.find(e.Container)
	if c == nil || c.number != e.Run || c.phase == ContainerExited {
		return nil
	}
	began := c.phase == ContainerRunning
	c.exit = &Exit{Code: e.Exit.Code, Signal: e.Exit.Signal, Started: c.since, Ended: e.Exit.Ended}
	c.exit.Reason = exitReason(e.Exit, c.verdict, began)
	if c.exit.Code != 0 {
		message, err := logs.Message(l.i.LogDir(), logs.Query{Container: c.spec.Name, From: c.since})
		if err != nil {
			l.i.m.log.Warn("reading what a container wrote last", "instance", l.i.id, "container", c.spec.Name, "err", err)
		}
		c.exit.Message = message
	}
	if e.Exit.PidsFull > 0 {
		c.exit.Message = strings.TrimSpace(fmt.Sprintf("%s\n%d attempts to make a process were refused by the pids limit", c.exit.Message, e.Exit.PidsFull))
	}
	c.phase, c.ready, c.started, c.verdict = ContainerExited, false, false, ""
	c.killAt = time.Time{}
	l.i.m.metrics.exits.WithLabelValues(c.exit.Reason).Inc()
	return c
}

func exitReason(e helper.Exit, verdict string, began bool) string {
	switch {
	case e.OOMKilled:
		return ReasonOOMKilled
	case verdict != "":
		return verdict
	case e.Code == 0:
		return ReasonCompleted
	case !began:
		return ReasonStartError
	}
	return ReasonError
}

// exited decides what follows the end of a container.
func (l *life) exited(e helper.Event) {
	c := l.record(e)
	if c == nil {
		return
	}
	l.endProbes(c)
	defer l.publish()
	switch {
	case l.state.Phase == PhaseDraining:
		l.checkEnded()
	case slices.Contains(l.init, c):
		l.initEnded(c)
	case l.state.Phase == PhaseCreated:
		l.stop(0, ReasonStartError, fmt.Sprintf("container %s ended before it was started: %s", c.spec.Name, c.exit.Message))
	case l.i.spec.Restart == RestartAlways, l.i.spec.Restart == RestartOnFailure && c.exit.Code != 0:
		l.scheduleRestart(c)
	default:
		l.checkAllEnded()
	}
}

func (l *life) initEnded(c *run) {
	if c.exit.Code == 0 {
		if err := l.startNext(); err != nil {
			l.stop(0, ReasonStartError, err.Error())
		}
		return
	}
	if l.i.spec.Restart == RestartNever {
		l.stop(0, ReasonInitFailed, fmt.Sprintf("init container %s ended with exit code %d: %s", c.spec.Name, c.exit.Code, c.exit.Message))
		return
	}
	l.scheduleRestart(c)
}

// checkAllEnded ends an instance whose containers have all ended and are not started again.
func (l *life) checkAllEnded() {
	reason, message := ReasonCompleted, ""
	for _, c := range l.main {
		if c.phase != ContainerExited {
			return
		}
		if c.exit != nil && c.exit.Code != 0 {
			reason, message = c.exit.Reason, fmt.Sprintf("container %s ended with exit code %d: %s", c.spec.Name, c.exit.Code, c.exit.Message)
		}
	}
	l.stop(0, reason, message)
}

// scheduleRestart lets a container wait for its next run: not at all the first time, then ever longer.
func (l *life) scheduleRestart(c *run) {
	now := time.Now()
	if !c.since.IsZero() && now.Sub(c.since) > quietTime {
		c.delay = 0
	}
	c.restartAt = now.Add(c.delay)
	c.phase = ContainerWaiting
	if c.exit != nil {
		c.last = c.exit
	}
	if c.delay > 0 {
		c.reason, c.message = ReasonCrashLoop, fmt.Sprintf("back-off %s restarting container %s", c.delay, c.spec.Name)
	}
	c.delay = min(max(2*c.delay, firstRestartDelay), maxRestartDelay)
}

// restart makes the container anew in the same instance and lets it run.
func (l *life) restart(c *run) {
	ctx, cancel := call()
	defer cancel()
	err := l.conn.Remove(ctx, l.ref(c))
	if err == nil {
		c.there = false
		c.number++
		err = l.create(ctx, c)
	}
	if err == nil {
		c.exit = nil
		c.restarts++
		err = l.wake(c)
	}
	if err != nil {
		l.i.m.log.Warn("restarting a container", "instance", l.i.id, "container", c.spec.Name, "err", err)
		l.scheduleRestart(c)
		c.reason, c.message = ReasonCreateError, err.Error()
	}
	l.publish()
}
