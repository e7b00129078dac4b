package helper

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// sealedCopies are copies of runtimes in memory that nobody can write to. crun and runc copy themselves on every call, so that a
// container cannot reach their file (CVE-2019-5736), and start anew from the copy; in one that is made already they need not.
type sealedCopies struct {
	log *slog.Logger

	mu  sync.Mutex
	all map[string]sealedCopy // by the path of the original
}

type sealedCopy struct {
	path string      // to start it by; the original's where there can be no copy
	of   os.FileInfo // the original as it was copied
}

// serves says whether a copy of what is there now can be started. The kernel starts nothing that somebody has open for writing, and
// a container that may trace other processes could catch the runtime in the moment in which it enters, and open its file so. To
// write is refused all the same.
func (c sealedCopy) serves(now os.FileInfo) bool {
	if !os.SameFile(c.of, now) || !c.of.ModTime().Equal(now.ModTime()) || c.of.Size() != now.Size() {
		return false
	}
	file, err := os.Open(c.path)
	if err != nil {
		return false
	}
	defer file.Close()
	// A lease is given on what nobody has open for writing, and ends with the file.
	_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return !errors.Is(err, unix.EAGAIN)
}

// path gives the path to start a program by. A program that was replaced, or whose copy does not serve, is copied anew; the copy
// before stays, since somebody may be about to start it.
func (s *sealedCopies) path(binary string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(binary)
	if err != nil {
		return binary // starting it says what is wrong
	}
	if c, ok := s.all[binary]; ok && c.serves(info) {
		return c.path
	}
	c := sealedCopy{path: binary, of: info}
	if file, err := seal(binary); err != nil {
		s.log.Warn("a runtime has to copy itself on every call", "runtime", binary, "err", err)
	} else {
		c.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file)
	}
	if s.all == nil {
		s.all = map[string]sealedCopy{}
	}
	s.all[binary] = c
	return c.path
}

// seals are exactly those by which runtimes know that they run from a copy.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// seal copies a program and gives the descriptor of the copy, which stays open as long as this process lives.
func seal(binary string) (int, error) {
	original, err := os.Open(binary)
	if err != nil {
		return 0, err
	}
	defer original.Close()
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(filepath.Base(binary), flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(filepath.Base(binary), flags)
	}
	if err != nil {
		return 0, fmt.Errorf("making a file in memory: %w", err)
	}
	err = errors.Join(fill(fd, original), unix.Fchmod(fd, 0o500)) // no user but root can open it
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("copying %s into memory: %w", binary, err)
	}
	return fd, nil
}

func fill(fd int, from io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for part := buf[:n]; len(part) > 0; {
			wrote, err := unix.Write(fd, part)
			if err != nil {
				return err
			}
			part = part[wrote:]
		}
	}
}
