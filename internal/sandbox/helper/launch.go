package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The process driver runs a bundle without an OCI runtime: this same program, run once more, gives itself the namespaces, mounts and
// user of config.json, confines itself and becomes the container's program. It knows no device rules but that none can be made, and no
// user namespaces.

// Prefixes of what Main is called with to be a launcher.
const (
	launchPrefix = "launch:"
	enterPrefix  = "enter:"
)

// fifoName is what a launched container waits for, in its bundle.
const fifoName = "start.fifo"

// launch becomes the program of a bundle. It returns only if that fails.
func launch(bundle string) int {
	runtime.LockOSThread() // namespaces and the bounding set are a thread's own until it becomes the program
	report := os.NewFile(3, "report")
	spec, fifo, err := prepareLaunch(bundle)
	if err != nil {
		fmt.Fprint(report, err)
		return 1
	}
	report.Close()
	if err := waitFifo(fifo); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead:", err)
		return 1
	}
	if err := become(spec.Process); err != nil {
		fmt.Fprintln(os.Stderr, "fairlead:", err)
		return 127
	}
	return 127
}

func readSpec(bundle string) (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	return &spec, json.Unmarshal(data, &spec)
}

func prepareLaunch(bundle string) (*specs.Spec, int, error) {
	spec, err := readSpec(bundle)
	if err != nil {
		return nil, 0, err
	}
	fifo, err := unix.Open(filepath.Join(bundle, fifoName), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the start fifo: %w", err)
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace && ns.Path != "" {
			if err := enterNetwork(ns.Path); err != nil {
				return nil, 0, err
			}
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, 0, fmt.Errorf("making mounts private: %w", err)
	}
	if err := enterRoot(spec); err != nil {
		return nil, 0, err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return nil, 0, fmt.Errorf("setting the host name: %w", err)
	}
	if _, err := lookPath(spec.Process); err != nil {
		return nil, 0, err
	}
	return spec, fifo, confine(spec, spec.Process)
}

func enterNetwork(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	return nil
}

// tree is a part of the machine's files that will be shown in the container.
type tree struct {
	fd       int
	at       string
	dir      bool
	readOnly bool
}

// enterRoot makes the root file system the root, with its mounts.
func enterRoot(spec *specs.Spec) error {
	var trees []tree
	for _, m := range spec.Mounts {
		if m.Type == "bind" {
			t, err := openTree(m.Source, m.Destination, slices.Contains(m.Options, "ro"))
			if err != nil {
				return err
			}
			trees = append(trees, t)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		t, err := openTree("/dev/"+name, "/dev/"+name, false)
		if err != nil {
			return err
		}
		trees = append(trees, t)
	}
	old, err := unix.Open("/", unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("keeping the machine's root file system: %w", err)
	}
	defer unix.Close(old)
	if err := errors.Join(unix.Chdir(spec.Root.Path), unix.PivotRoot(".", ".")); err != nil {
		return fmt.Errorf("entering the root file system: %w", err)
	}
	// While the machine's is still there, unseen: an ordinary user may mount proc and sysfs only where others are.
	for _, m := range spec.Mounts {
		if err := mountKind(m); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Fchdir(old), unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/")); err != nil {
		return fmt.Errorf("leaving the machine's root file system: %w", err)
	}
	for _, t := range trees {
		if err := t.show(); err != nil {
			return err
		}
	}
	if err := deviceLinks(); err != nil {
		return err
	}
	if err := hide(spec.Linux); err != nil {
		return err
	}
	if spec.Root.Readonly {
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("making the root file system read-only: %w", err)
		}
	}
	cwd := spec.Process.Cwd
	if err := os.MkdirAll(cwd, 0o755); err != nil && !spec.Root.Readonly {
		return fmt.Errorf("making the working directory: %w", err)
	}
	return nil
}

func openTree(source, at string, readOnly bool) (tree, error) {
	info, err := os.Stat(source)
	if err != nil {
		return tree{}, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return tree{}, fmt.Errorf("taking %s to be mounted: %w", source, err)
	}
	return tree{fd, at, info.IsDir(), readOnly}, nil
}

func (t tree) show() error {
	defer unix.Close(t.fd)
	if err := makeTarget(t.at, t.dir); err != nil {
		return err
	}
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s: %w", t.at, err)
	}
	if !t.readOnly {
		return nil
	}
	return unix.Mount("", t.at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// makeTarget makes what is mounted over, unless it is there.
func makeTarget(at string, dir bool) error {
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	if dir {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o644)
}

// mountKind mounts what is no bind. Control groups are not shown.
func mountKind(m specs.Mount) error {
	if m.Type == "bind" || m.Type == "cgroup" {
		return nil
	}
	flags := map[string]uintptr{"nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC, "nodev": unix.MS_NODEV, "ro": unix.MS_RDONLY,
		"strictatime": unix.MS_STRICTATIME, "relatime": unix.MS_RELATIME}
	var set uintptr
	var data []string
	for _, o := range m.Options {
		if f, ok := flags[o]; ok {
			set |= f
		} else {
			data = append(data, o)
		}
	}
	if err := makeTarget(m.Destination, true); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, m.Destination, m.Type, set, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Destination, err)
	}
	return nil
}

func deviceLinks() error {
	var all []error
	for at, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		all = append(all, os.Symlink(to, "/dev/"+at))
	}
	return errors.Join(all...)
}

// hide makes paths read-only or empty, where they are.
func hide(l *specs.Linux) error {
	for _, path := range l.ReadonlyPaths {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("making %s read-only: %w", path, err)
		}
	}
	for _, path := range l.MaskedPaths {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && info.IsDir() {
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0k")
		} else if err == nil {
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("masking %s: %w", path, err)
		}
	}
	return nil
}

// waitFifo waits for a byte. The fifo has no writer at first, which poll waits for and read would not. Its mode tells a daemon that
// comes later that the byte was taken.
func waitFifo(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting to be started: %w", err)
		}
		n, err := unix.Read(fd, make([]byte, 1))
		if n == 1 {
			return unix.Fchmod(fd, 0)
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// become runs the program in place of this one.
func become(p *specs.Process) error {
	path, err := lookPath(p)
	if err != nil {
		return err
	}
	if err := unix.Chdir(p.Cwd); err != nil {
		return fmt.Errorf("entering the working directory %s: %w", p.Cwd, err)
	}
	if err := assume(p.User); err != nil {
		return err
	}
	if err := unix.Exec(path, p.Args, p.Env); err != nil {
		return fmt.Errorf("running %s: %w", path, err)
	}
	return nil
}

// lookPath finds the program as execvp does, with the container's PATH.
func lookPath(p *specs.Process) (string, error) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Cwd, name)
		}
		if info, err := os.Stat(name); err != nil {
			return "", fmt.Errorf("the executable file %s: %w", name, err)
		} else if info.IsDir() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("the executable file %s: %w", name, os.ErrPermission)
		}
		return name, nil
	}
	for _, e := range p.Env {
		dirs, isPath := strings.CutPrefix(e, "PATH=")
		if !isPath {
			continue
		}
		for _, dir := range filepath.SplitList(dirs) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("the executable file %q is not in the container's PATH: %w", name, os.ErrNotExist)
}
