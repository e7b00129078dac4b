package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// holderVariable tells the program that EnterUsers ran which process held the namespace open for it.
const holderVariable = "FAIRLEAD_NAMESPACE_HOLDER"

// EnterUsers runs this program again as root of a user namespace, where an ordinary user may make namespaces and mounts. It
// returns nil at once if this is root already, of the machine or of a namespace; otherwise it returns only with an error. The
// process stays the same one, with its arguments, environment and terminal. A helper that holds instances in dir is joined in
// its namespace, so that they can be adopted.
//
// It needs newuidmap, newgidmap and nsenter, and ranges of at least 65536 users and groups in /etc/subuid and /etc/subgid.
func EnterUsers(dir string) error {
	if os.Geteuid() == 0 {
		return dismissHolder()
	}
	if err := RootlessMissing(); err != nil {
		return err
	}
	pid, env := helperPid(dir), os.Environ()
	if pid == 0 {
		var err error
		if pid, err = holdUsers(); err != nil {
			return err
		}
		env = append(env, holderVariable+"="+strconv.Itoa(pid))
	}
	nsenter, err := LookPath("nsenter")
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"nsenter", "--target", strconv.Itoa(pid), "--user", "--preserve-credentials", "--", executable}, os.Args[1:]...)
	return fmt.Errorf("running %s: %w", nsenter, unix.Exec(nsenter, args, env))
}

// dismissHolder ends the process that held the namespace until this one was in it.
func dismissHolder() error {
	pid, err := strconv.Atoi(os.Getenv(holderVariable))
	if err != nil {
		return nil // none was needed
	}
	if err := os.Unsetenv(holderVariable); err != nil {
		return err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the process that held the user namespace: %w", err)
	}
	p.Wait() //nolint:errcheck // it was killed
	return nil
}

// helperPid gives the helper of a folder; 0 if there is none.
func helperPid(dir string) int {
	conn, err := helper.Connect(dir)
	if err != nil {
		return 0
	}
	defer conn.Disconnect()
	pid, err := conn.Peer()
	if err != nil {
		return 0
	}
	return pid
}

// holdUsers starts a process that does nothing in a new user namespace with all users this one may have.
func holdUsers() (pid int, err error) {
	sleep, err := LookPath("sleep")
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(sleep, "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("making a user namespace: %w", err)
	}
	for tool, m := range map[string]struct {
		id   int
		file string
	}{"newuidmap": {os.Getuid(), "/etc/subuid"}, "newgidmap": {os.Getgid(), "/etc/subgid"}} {
		first, count, rerr := subordinate(m.file)
		if rerr != nil {
			err = rerr
			break
		}
		path, lerr := LookPath(tool)
		if lerr != nil {
			err = lerr
			break
		}
		n := strconv.Itoa
		out, cerr := exec.Command(path, n(cmd.Process.Pid), "0", n(m.id), "1", "1", n(first), n(count)).CombinedOutput()
		if cerr != nil {
			err = fmt.Errorf("%s: %w: %s", tool, cerr, strings.TrimSpace(string(out)))
			break
		}
	}
	if err != nil {
		return 0, errors.Join(err, cmd.Process.Kill())
	}
	return cmd.Process.Pid, nil
}

// RootlessMissing says what an ordinary user's daemon lacks on this machine; nil if nothing.
func RootlessMissing() error {
	var all []error
	for tool, pack := range map[string]string{"newuidmap": "uidmap", "newgidmap": "uidmap", "nsenter": "util-linux"} {
		if _, err := LookPath(tool); err != nil {
			all = append(all, fmt.Errorf("%s is not installed (apt-get install %s)", tool, pack))
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if _, _, err := subordinate(file); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// subordinate reads this user's first range of at least 65535 from /etc/subuid or /etc/subgid.
func subordinate(file string) (first, count int, err error) {
	names := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if first, count, ok := subRange(lines.Text(), names); ok && count >= mappedUsers-1 {
			return first, count, nil
		}
	}
	return 0, 0, fmt.Errorf("%s has no range of 65536 for %s (as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s)",
		file, names[len(names)-1], names[len(names)-1])
}

// subRange reads a line name:first:count of one of the names.
func subRange(line string, names []string) (first, count int, ok bool) {
	parts := strings.Split(strings.TrimSpace(line), ":")
	if len(parts) != 3 {
		return 0, 0, false
	}
	for _, name := range names {
		if parts[0] == name {
			first, err1 := strconv.Atoi(parts[1])
			count, err2 := strconv.Atoi(parts[2])
			return first, count, err1 == nil && err2 == nil && first > 0 && count > 0
		}
	}
	return 0, 0, false
}

// rootlessMissing is what an ordinary user's instances lack, one sentence each.
func rootlessMissing(delegated bool) (out []string) {
	if !delegated {
		out = append(out, "this is an ordinary user's daemon without control groups of its own: memory, CPU and process limits are not enforced, usage is not measured, and "+
			"instances are frozen by SIGSTOP, which their programs can notice")
	}
	return append(out, "this is an ordinary user's daemon: all instances share its user namespace, and root in an instance is the user outside")
}

// DelegatedCgroups says whether an ordinary user's daemon that is started here, in this process's control groups, could limit its
// instances.
func DelegatedCgroups() bool {
	tree, err := cgroup.Open()
	return err == nil && tree.Delegated()
}
