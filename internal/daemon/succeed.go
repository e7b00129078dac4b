package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SuccessionSignal asks `fairlead serve` to leave its instances and ports to a successor.
const SuccessionSignal = unix.SIGUSR2

// succeed asks the daemon of a home folder to leave and takes the lock when it has.
func succeed(home string, patience time.Duration) (*homeLock, error) {
	pid, err := servingProcess(home)
	if err == nil {
		err = unix.Kill(pid, SuccessionSignal)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("take over from the daemon of %s: %w", home, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		lock, err := lockHome(home)
		if !errors.Is(err, ErrHomeInUse) {
			return lock, err
		}
		if time.Now().After(end) {
			return nil, advise(fmt.Errorf("take over: %w after %v", err, patience), "end that process, then start this one without --takeover")
		}
	}
}

// servingProcess finds the `fairlead serve` that has the lock of a home folder open.
func servingProcess(home string) (int, error) {
	path := filepath.Join(home, "lock")
	pid, err := numberIn(path)
	if err != nil {
		return 0, err
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0, unix.ESRCH
	}
	if !bytes.Contains(command, []byte("\x00serve\x00")) {
		return 0, advise(fmt.Errorf("process %d is not `fairlead serve`", pid), "end that process: it was started by another command")
	}
	if !slices.Contains(openFiles(pid), path) {
		return 0, fmt.Errorf("process %d does not hold %s", pid, path)
	}
	return pid, nil
}

// numberIn reads the process that a lock names, which is no proof that it holds it.
func numberIn(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%s names no process", path)
	}
	return pid, nil
}

// openFiles lists what a process has open, as /proc names it; nothing where that may not be seen.
func openFiles(pid int) (names []string) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil
	}
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil {
			names = append(names, target)
		}
	}
	return names
}
