package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..opq" // after the prefix
	xattrPrefix    = "SCHILY.xattr."
)

func (u *unpacker) leaveParent() {
	if u.parent != nil {
		u.parent.Close()
		u.parent = nil
	}
}

// enterParent opens the directory an entry goes into, and makes it if the archive did not say it.
func (u *unpacker) enterParent(name, dir string) error {
	if u.parent != nil && u.parentPath == dir {
		return nil
	}
	u.leaveParent()
	f, err := u.openDir(dir)
	if err != nil {
		// Missing, or behind an absolute link, which os.Root does not follow.
		resolved, resolveErr := u.resolve(name, dir)
		if resolveErr != nil {
			return resolveErr
		}
		err = u.root.MkdirAll(resolved, 0o755)
		if err == nil {
			f, err = u.openDir(resolved)
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrExist) {
			return &RefusedError{Entry: name, Reason: fmt.Sprintf("%q above it is not a directory", dir)}
		}
		if err != nil {
			return err
		}
	}
	u.parent, u.parentPath = f, dir
	return nil
}

// openDir opens a directory and nothing else: a pipe in its place would wait for a writer for ever.
func (u *unpacker) openDir(path string) (*os.File, error) {
	return u.root.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return &RefusedError{Entry: h.Name, Reason: "it replaces the root directory"}
	}
	f, err := u.openDir(".")
	if err != nil {
		return err
	}
	defer f.Close()
	u.times = append(u.times, dirTimes{".", h.ModTime})
	return u.attributes(f, h)
}

// whiteout hides what lower layers have, in the form overlayfs reads.
func (u *unpacker) whiteout(entry, dir, base string) error {
	if strings.HasPrefix(base, whiteoutPrefix) && base != whiteoutOpaque {
		return nil // a note of the AUFS driver, without meaning here
	}
	if base == "" || base == "." || base == ".." {
		return &RefusedError{Entry: entry, Reason: "it hides nothing that has a name"}
	}
	if err := u.enterParent(entry, dir); err != nil {
		return err
	}
	fd := int(u.parent.Fd())
	if base == whiteoutOpaque {
		if err := unix.Fsetxattr(fd, u.overlayAttr("opaque"), []byte("y"), 0); err != nil {
			return fmt.Errorf("unpack %q: mark %q opaque: %w", entry, dir, err)
		}
		return nil
	}
	err := unix.Mknodat(fd, base, unix.S_IFCHR, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) { // the layer has the name itself: that hides the lower one anyway
		return fmt.Errorf("unpack %q: %w", entry, err)
	}
	return nil
}

// machineRoot says whether this is root of the machine, not of a user namespace: only that may set all attributes.
func machineRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	data, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || strings.Join(strings.Fields(string(data)), " ") == "0 0 4294967295"
}

func (u *unpacker) overlayAttr(name string) string {
	if machineRoot() {
		return "trusted.overlay." + name
	}
	return "user.overlay." + name
}

// write makes one entry with the name base in the entered directory.
func (u *unpacker) write(h *tar.Header, name, base string, content io.Reader) error {
	fd := int(u.parent.Fd())
	if err := u.clear(h, name, base); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, name, base)
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse: //nolint:staticcheck // old archives have TypeRegA
		return u.file(h, base, content)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) >= pathLimit {
			return &RefusedError{Entry: h.Name, Reason: "its link target is empty or too long"}
		}
		if err := unix.Symlinkat(h.Linkname, fd, base); err != nil {
			return err
		}
		return u.ownAndTime(h, base)
	case tar.TypeLink:
		return u.hardLink(h, base)
	case tar.TypeFifo:
		if err := unix.Mknodat(fd, base, unix.S_IFIFO|permissions(h), 0); err != nil {
			return err
		}
		if err := u.ownAndTime(h, base); err != nil {
			return err
		}
		return unix.Fchmodat(fd, base, permissions(h), 0)
	case tar.TypeChar, tar.TypeBlock:
		return &RefusedError{Entry: h.Name, Reason: "it is a device file"}
	}
	return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("its type %q is not one an image may have", h.Typeflag)}
}

// clear removes what an earlier entry of the same layer put there, but lets a directory be described again.
func (u *unpacker) clear(h *tar.Header, name, base string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(u.parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.Unlinkat(int(u.parent.Fd()), base, 0)
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	u.times = slices.DeleteFunc(u.times, func(d dirTimes) bool { return d.path == name || strings.HasPrefix(d.path, name+"/") })
	resolved, err := u.resolve(h.Name, path.Dir(name))
	if err != nil {
		return err
	}
	return u.root.RemoveAll(path.Join(resolved, base))
}

func (u *unpacker) directory(h *tar.Header, name, base string) error {
	fd := int(u.parent.Fd())
	if err := unix.Mkdirat(fd, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	dir, err := unix.Openat(fd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(dir), base)
	defer f.Close()
	u.times = append(u.times, dirTimes{name, h.ModTime})
	return u.attributes(f, h)
}

func (u *unpacker) file(h *tar.Header, base string, content io.Reader) error {
	fd, err := unix.Openat(int(u.parent.Fd()), base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	n, err := io.CopyBuffer(onlyWriter{f}, content, u.buf)
	if u.stats.bytes += n; err != nil {
		return err
	}
	if err := u.attributes(f, h); err != nil {
		return err
	}
	return u.setTime(base, h.ModTime)
}

// onlyWriter keeps io.CopyBuffer from looking for a faster way that would not use the buffer.
type onlyWriter struct{ io.Writer }

func (u *unpacker) hardLink(h *tar.Header, base string) error {
	target, err := entryPath(h.Linkname)
	if err != nil {
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("it is a hard link to %q, outside of the layer", h.Linkname)}
	}
	dir, err := u.resolve(h.Name, path.Dir(target))
	if err != nil {
		return err
	}
	from, err := u.openDir(dir)
	if err != nil {
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("it is a hard link to %q, which the layer does not have", h.Linkname)}
	}
	defer from.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), path.Base(target), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("it is a hard link to %q, which the layer does not have", h.Linkname)}
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFDIR || kind == unix.S_IFCHR {
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("it is a hard link to %q, which is not a file", h.Linkname)}
	}
	return unix.Linkat(int(from.Fd()), path.Base(target), int(u.parent.Fd()), base, 0)
}

func permissions(h *tar.Header) uint32 { return uint32(h.Mode) & 0o7777 }

// attributes sets owner, extended attributes and mode, in the order in which they do not undo each other.
func (u *unpacker) attributes(f *os.File, h *tar.Header) error {
	fd := int(f.Fd())
	if u.privileged {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return fmt.Errorf("owner %d:%d: %w", h.Uid, h.Gid, err)
		}
	}
	if err := unix.Fchmod(fd, permissions(h)); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || !keepAttr(attr) {
			continue
		}
		err := unix.Fsetxattr(fd, attr, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || !u.privileged && errors.Is(err, unix.EPERM) {
			u.log.Debug("extended attribute left out", "entry", h.Name, "attribute", attr, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("extended attribute %q: %w", attr, err)
		}
	}
	return nil
}

// keepAttr says which extended attributes of an image mean something on this machine. Labels of security modules are
// of the machine that made them.
func keepAttr(attr string) bool {
	return attr == "security.capability" || strings.HasPrefix(attr, "user.") && !strings.HasPrefix(attr, "user.overlay.")
}

func (u *unpacker) ownAndTime(h *tar.Header, base string) error {
	if u.privileged {
		if err := unix.Fchownat(int(u.parent.Fd()), base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("owner %d:%d: %w", h.Uid, h.Gid, err)
		}
	}
	return u.setTime(base, h.ModTime)
}

func (u *unpacker) setTime(base string, at time.Time) error {
	return setTime(int(u.parent.Fd()), base, at)
}

func setTime(dirFd int, base string, at time.Time) error {
	if at.IsZero() || at.Unix() < 0 {
		at = time.Unix(0, 0)
	}
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		ts = unix.Timespec{}
	}
	return unix.UtimesNanoAt(dirFd, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// applyTimes sets the times of directories, children before their parents.
func (u *unpacker) applyTimes() error {
	u.leaveParent()
	for _, d := range slices.Backward(u.times) {
		resolved, err := u.resolve(d.path, d.path)
		if err != nil {
			return err
		}
		f, err := u.openDir(resolved)
		if err != nil {
			continue // a later entry replaced it
		}
		err = setTime(int(f.Fd()), ".", d.at)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a folder that may have directories without permissions.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = fs.WalkDir(os.DirFS(dir), ".", func(p string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(path.Join(dir, p), 0o700) // the second try tells
		}
		return nil
	})
	return os.RemoveAll(dir)
}
