package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrHomeInUse says that another daemon holds the home folder.
var ErrHomeInUse = errors.New("another daemon uses this home folder")

// homeLock keeps a home folder for one daemon. The kernel releases it when the process ends, however it ends.
type homeLock struct{ file *os.File }

// lockHome takes the lock of a home folder, or says which process has it.
func lockHome(home string) (*homeLock, error) {
	path := filepath.Join(home, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the home folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, advise(fmt.Errorf("%w: %s is held by %s", ErrHomeInUse, home, lockHolder(f)),
				"stop that process, or use another folder with --home")
		}
		return nil, fmt.Errorf("lock the home folder: %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the home folder: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the home folder: %w", err)
	}
	return &homeLock{f}, nil
}

// lockHolder describes the process named in a lock file.
func lockHolder(f *os.File) string {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return "a process that left no number"
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
}

func (l *homeLock) release() { l.file.Close() }

// advised is an error with what to try next.
type advised struct {
	error
	try string
}

func (a advised) Unwrap() error { return a.error }

// Try is what the person could do about it.
func (a advised) Try() string { return a.try }

func advise(err error, try string) error { return advised{err, try} }
