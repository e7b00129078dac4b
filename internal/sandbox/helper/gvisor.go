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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// gvisor is the driver that gives each container a kernel of its own, which is a program. What the helper sees as the container's
// process is that program; it ends as the container does, and hands signals on. A second process, the gofer, opens files for it.
const gvisor = "runsc"

// gvisorFlags are what makes gVisor behave as the other runtimes do here.
func gvisorFlags(tree *cgroup.Tree) []string {
	flags := []string{
		// Its own network stack takes over the interfaces and addresses of a namespace, of which ours has only lo, with every
		// address of the world behind it. Sockets are those of the instance's own namespace instead.
		"--network=host",
		"--net-raw",            // the usual capabilities have NET_RAW; what it sends stays in the namespace
		"--overlay2=none",      // the writable layer is one already, with a limit, and seen by this process
		"--file-access=shared", // which copies into it
		"--oci-seccomp",
	}
	if tree.Mode() == cgroup.None || tree.Delegated() {
		flags = append(flags, "--ignore-cgroups")
	}
	return flags
}

// gvisorCreated completes what is known of a container that gVisor has just created.
func (s *server) gvisorCreated(c *container) error {
	data, err := os.ReadFile(filepath.Join(s.runtimeRoot(c), c.id+"_sandbox:"+c.id+".state"))
	if err != nil {
		return fmt.Errorf("reading the state of gVisor: %w", err)
	}
	var state struct {
		GoferPid int `json:"goferPid"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return fmt.Errorf("reading the state of gVisor: %w", err)
	}
	if state.GoferPid == 0 {
		return errors.New("the state of gVisor names no gofer")
	}
	c.gofer = state.GoferPid
	c.created.Root = filepath.Join("/proc", strconv.Itoa(c.gofer), "root") // with its volumes
	return nil
}

// watchGofer ends a container whose gofer has ended: it could open no file any more, and a spare would not start.
func (s *server) watchGofer(c *container) {
	defer s.reaper.disown(c.gofer)
	for {
		_, err := unix.Wait4(c.gofer, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	const ending = 5 * time.Second // the gofer of a container that ends may be done first
	select {
	case <-c.done:
	case <-time.After(ending):
		if err := c.signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrClosed) {
			s.log.Error("ending a container without a gofer", "instance", c.args.Instance, "container", c.args.Container, "err", err)
		}
	}
}

// gvisorSignal gives the signal that ended a program: gVisor ends as a shell does.
func gvisorSignal(code int) int {
	if code > 128 && code < 128+32 {
		return code - 128
	}
	return 0
}

// gvisorStart lets a container run. gVisor loads the program only now: if it cannot, that is the container's end, told in its log as
// other runtimes do.
func (s *server) gvisorStart(ctx context.Context, i *instance, c *container) error {
	_, err := s.output(s.command(ctx, c, "start", c.id)) // the log says the same
	i.mu.Lock()
	c.created.Started = true
	i.mu.Unlock()
	if err == nil {
		return nil
	}
	err = runtimeError("start", c, filepath.Join(c.args.Bundle, "runtime.log"), err)
	c.mu.Lock()
	c.unstarted = true
	c.mu.Unlock()
	return errors.Join(i.log.Append(logs.Record{Time: time.Now(), Container: c.args.Container, Stream: logs.Stderr, Data: []byte(err.Error())}),
		c.signal(unix.SIGKILL))
}

// findProgram looks for the container's program where no runtime does before it starts.
func findProgram(spec *specs.Spec, root string) error {
	for _, m := range spec.Mounts {
		own := slices.Contains([]string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/sys/fs/cgroup", "/tmp"}, m.Destination)
		if m.Type == "bind" && !own {
			return nil // it may be in a volume
		}
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the root file system: %w", err)
	}
	defer unix.Close(fd)
	there := func(path string) error {
		f, err := unix.Openat2(fd, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			return err
		}
		defer unix.Close(f)
		var st unix.Stat_t
		if err := unix.Fstat(f, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
			return fs.ErrPermission
		}
		return nil
	}
	name := spec.Process.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(spec.Process.Cwd, name)
		}
		if err := there(name); err != nil {
			return fmt.Errorf("the program %s: %w", name, err)
		}
		return nil
	}
	for _, e := range spec.Process.Env {
		dirs, isPath := strings.CutPrefix(e, "PATH=")
		for _, dir := range filepath.SplitList(dirs) {
			if isPath && there(filepath.Join(dir, name)) == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("the program %q is not in the container's PATH: %w", name, fs.ErrNotExist)
}

// gvisorKill ends a process that exec runs in a container. What this machine sees of it is only what waits for it.
func (s *server) gvisorKill(c *container, e *execution) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	for wait := time.Millisecond; !started(e.pidFile); wait = min(2*wait, 50*time.Millisecond) {
		select {
		case <-e.done:
			return nil
		case <-ctx.Done():
			e.cancel()
			return errors.New("gVisor does not say what it runs")
		case <-time.After(wait):
		}
	}
	pid, err := os.ReadFile(e.insideFile())
	if err != nil {
		return err
	}
	if out, err := s.output(s.commandLog(ctx, c, e.insideFile()+".log", "kill", "--pid", strings.TrimSpace(string(pid)), c.id, "KILL")); err != nil {
		select {
		case <-e.done: // by itself
			return nil
		default:
			return runtimeError("kill: "+out, c, e.insideFile()+".log", err)
		}
	}
	return nil
}

// gvisorTerminal gives a command that runs a process in a container a terminal, whose other side goes to the socket that asked for it.
// gVisor itself would do so only for a command that does not wait. The terminal is to be closed when the command has ended.
func gvisorTerminal(a ExecArgs, cmd *exec.Cmd) (*os.File, error) {
	var p specs.Process
	if err := json.Unmarshal(a.Process, &p); err != nil {
		return nil, err
	}
	console, err := dialConsole(a.Console)
	if err != nil {
		return nil, err
	}
	defer unix.Close(console)
	terminal, err := openTerminal(p.User.UID, console)
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // descriptor 0 is it
	return terminal, nil
}
