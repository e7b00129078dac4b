package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// entry says what to run in a launched container.
type entry struct {
	Pid        int          `json:"pid"`    // of the container's program
	Bundle     string       `json:"bundle"` // its configuration says how the process is confined
	Cgroup     string       `json:"cgroup"`
	CgroupBase cgroup.Place `json:"cgroupBase"`
	Base       string       `json:"base"`              // BASE.json is the OCI process; BASE.pid and BASE.log are written
	Console    string       `json:"console,omitempty"` // the socket that takes the terminal; empty: there is none
}

// processExec gives the command that runs a process in a launched container.
func (s *server) processExec(ctx context.Context, c *container, a ExecArgs, base string) (*exec.Cmd, error) {
	e := entry{Pid: c.created.Pid, Bundle: c.args.Bundle, Base: base, Console: a.Console, CgroupBase: s.tree.Base()}
	if s.tree.Mode() != cgroup.None {
		e.Cgroup = c.args.Cgroup
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1], enterPrefix+string(data))
	cmd.Env = []string{} // nothing of the daemon's
	return cmd, nil
}

// enter joins the namespaces of a launched container and runs a process there to its end. What goes wrong before it runs is
// written to the log, as a runtime does.
func enter(args string) int {
	var e entry
	if err := json.Unmarshal([]byte(args), &e); err != nil {
		return 126
	}
	log, err := os.Create(e.Base + ".log") // now: the container does not see it
	if err != nil {
		return 126
	}
	defer log.Close()
	runtime.LockOSThread() // namespaces and what confines are a thread's own, and its children's
	code, err := e.run()
	if err != nil {
		json.NewEncoder(log).Encode(map[string]string{"level": "error", "msg": err.Error()}) //nolint:errcheck // then the exit code stands alone
		return 126
	}
	return code
}

func (e entry) run() (int, error) {
	spec, err := readSpec(e.Bundle)
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(e.Base + ".json")
	if err != nil {
		return 0, err
	}
	var p specs.Process
	if err := json.Unmarshal(data, &p); err != nil {
		return 0, err
	}
	pidFile, err := os.Create(e.Base + ".pid")
	if err != nil {
		return 0, err
	}
	defer pidFile.Close()
	console := -1
	if e.Console != "" {
		if console, err = dialConsole(e.Console); err != nil {
			return 0, err
		}
		defer unix.Close(console)
	}
	if err := e.join(); err != nil {
		return 0, err
	}
	path, err := lookPath(&p)
	if err != nil {
		return 0, err
	}
	files := []uintptr{0, 1, 2}
	if console >= 0 {
		terminal, err := openTerminal(p.User.UID, console)
		if err != nil {
			return 0, err
		}
		defer terminal.Close()
		files = []uintptr{terminal.Fd(), terminal.Fd(), terminal.Fd()}
	}
	if err := confine(spec, &p); err != nil {
		return 0, err
	}
	child, err := syscall.ForkExec(path, p.Args, &syscall.ProcAttr{
		Dir: p.Cwd, Env: p.Env, Files: files,
		Sys: &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.AdditionalGids},
			Setsid:     console >= 0, Setctty: console >= 0, // descriptor 0 is it
		},
	})
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", path, err)
	}
	if _, err := pidFile.WriteString(strconv.Itoa(child)); err != nil {
		return 0, err
	}
	return waitChild(child), nil
}

// join enters the control group and the namespaces of the container.
func (e entry) join() error {
	if e.Cgroup != "" {
		tree, err := cgroup.OpenAt(e.CgroupBase)
		if err != nil {
			return err
		}
		if err := tree.EnterThread(e.Cgroup); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its root cannot change mount namespaces
		return err
	}
	var fds []int
	for _, ns := range []string{"net", "uts", "ipc", "pid", "mnt"} { // mnt last: it hides the others' paths
		fd, err := unix.Open(filepath.Join("/proc", strconv.Itoa(e.Pid), "ns", ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening the container's namespaces: %w", err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("entering the container: %w", err)
		}
		unix.Close(fd)
	}
	return nil
}

// waitChild gives the exit code of a child, 128 and the signal if one ended it.
func waitChild(pid int) int {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func dialConsole(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connecting to whoever wants the terminal: %w", err)
	}
	return fd, nil
}

// openTerminal makes a terminal in the container, owned by a user, sends its master side to a socket and gives the other one.
func openTerminal(uid uint32, console int) (*os.File, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking the terminal: %w", err)
	}
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return nil, fmt.Errorf("opening the terminal: %w", errno)
	}
	slave := os.NewFile(fd, "terminal")
	if err := errors.Join(slave.Chown(int(uid), -1), unix.Sendmsg(console, []byte("terminal"), unix.UnixRights(master), nil, 0)); err != nil {
		slave.Close()
		return nil, fmt.Errorf("handing over the terminal: %w", err)
	}
	return slave, nil
}
