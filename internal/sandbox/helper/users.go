package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

var (
	// ErrUsers: this machine gives no user namespaces.
	ErrUsers = errors.New("no user namespace can be made")
	// ErrMapping: a directory that the instance needs cannot be shown with the users of a namespace.
	ErrMapping = errors.New("a directory cannot be shown with the users of a namespace")
)

// The ranges of users that instances get: 65536 each, as images expect, from where systemd's list of users
// (docs/UIDS-GIDS) has nothing.
const (
	usersCount  = 1 << 16
	usersFirst  = 0x70000000
	usersRanges = 4000
)

// viewParent holds the views of all helpers. Everybody may pass through it, which users of an instance could not by way of a
// private home folder.
const viewParent = "/run/fairlead"

// ViewDir is where a helper shows instances with users of their own. Outside of the helper it is empty.
func ViewDir(cgroupParent string) string {
	return filepath.Join(viewParent, filepath.Base(cgroupParent))
}

// Rootless says whether this process is root of a user namespace, not of the machine.
func Rootless() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
}

// codeOf and decodeError carry the errors that a daemon acts on.
func codeOf(err error) string {
	switch {
	case errors.Is(err, ErrUsers):
		return "users"
	case errors.Is(err, ErrMapping):
		return "mapping"
	}
	return ""
}

func decodeError(r response) error {
	for _, known := range []error{ErrUsers, ErrMapping} {
		if rest, ok := strings.CutPrefix(r.Error, known.Error()+": "); ok && r.Code == codeOf(known) {
			return fmt.Errorf("%w: %s", known, rest)
		}
	}
	return errors.New(r.Error)
}

// prepareUsers gives an instance its user namespace, a network namespace that belongs to it, and a view: the folder of the
// instance, its layers and host directories mounted so that user 0 of their files is user 0 of the instance.
func (s *server) prepareUsers(i *instance) (err error) {
	if !i.args.Users {
		return nil
	}
	if err := s.makeView(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsers, err)
	}
	ids, err := s.takeRange()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsers, err)
	}
	user, network, err := newUsers(s.reaper, ids)
	if err != nil {
		s.giveBack(ids)
		return fmt.Errorf("%w: %w", ErrUsers, err)
	}
	i.users, i.ids = user, ids
	if i.sockets, err = netns.Furnish(network); err != nil {
		return fmt.Errorf("%w: %w", ErrUsers, err)
	}
	if err := s.showDir(i); err != nil {
		return fmt.Errorf("%w: %w", ErrMapping, err)
	}
	if err := i.showOthers(); err != nil {
		return fmt.Errorf("%w: %w", ErrMapping, err)
	}
	return nameNamespace(UserNSPath(i.args.Dir), user)
}

// UserNSPath is where in an instance's view its user namespace is.
func UserNSPath(view string) string { return filepath.Join(view, "userns") }

// HostPath is where in an instance's view a directory of the machine is.
func HostPath(view, volume string) string { return filepath.Join(view, "hosts", volume) }

// makeView makes the folder of views: memory of this helper alone, so that nobody else finds a way into an instance by it.
func (s *server) makeView() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != "" {
		return nil
	}
	dir := ViewDir(s.opts.CgroupParent)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(viewParent, 0o711); err != nil { // whatever the umask says
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=711,size=4m"); err != nil {
		return fmt.Errorf("mounting memory at %s: %w", dir, err)
	}
	s.view = dir
	return nil
}

// removeView takes the folder of views away.
func (s *server) removeView() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == "" {
		return nil
	}
	return errors.Join(unix.Unmount(s.view, unix.MNT_DETACH), os.Remove(s.view))
}

// takeRange takes a range of users that no instance of this helper has. Helpers begin at different places.
func (s *server) takeRange() (Range, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usersNext == 0 {
		h := fnv.New32a()
		h.Write([]byte(s.opts.Dir)) //nolint:errcheck // never fails
		s.usersNext = h.Sum32() % usersRanges
	}
	for range usersRanges {
		n := s.usersNext % usersRanges
		s.usersNext++
		if !s.usersHeld[n] {
			s.usersHeld[n] = true
			return Range{First: usersFirst + n*usersCount, Count: usersCount}, nil
		}
	}
	return Range{}, fmt.Errorf("all %d ranges of users are taken", usersRanges)
}

func (s *server) giveBack(r Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.usersHeld, (r.First-usersFirst)/usersCount)
}

// newUsers makes a user namespace and a network namespace that belongs to it. Only a process with a single thread can be in
// a new user namespace, so one is started, which stops before its first step, and is ended once its namespaces are held.
func newUsers(r *reaper, ids Range) (user, network *os.File, err error) {
	runtime.LockOSThread() // the kernel takes the thread for the tracer
	defer runtime.UnlockOSThread()
	m := []syscall.SysProcIDMap{{HostID: int(ids.First), Size: int(ids.Count)}}
	p, err := r.start("/proc/self/exe", []string{"fairlead-users"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: m, GidMappings: m, GidMappingsEnableSetgroups: true,
			Ptrace: true, Pdeathsig: unix.SIGKILL,
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("starting a process in new namespaces: %w", err)
	}
	defer func() {
		p.Kill() //nolint:errcheck // it has not run yet, and has no other way to end
		p.Wait() //nolint:errcheck // it was killed
		r.disown(p.Pid)
	}()
	ns := filepath.Join("/proc", strconv.Itoa(p.Pid), "ns")
	if user, err = os.Open(filepath.Join(ns, "user")); err != nil {
		return nil, nil, err
	}
	if network, err = os.Open(filepath.Join(ns, "net")); err != nil {
		user.Close()
		return nil, nil, err
	}
	return user, network, nil
}

// showDir mounts the instance's folder as its view.
func (s *server) showDir(i *instance) error {
	view := filepath.Join(s.view, i.args.Instance)
	if err := os.Mkdir(view, 0o711); err != nil {
		return err
	}
	if err := i.show(i.args.Dir, view); err != nil {
		return errors.Join(err, os.Remove(view))
	}
	i.view = view
	i.mounts = append(i.mounts, view)
	return nil
}

// showOthers mounts directories of the machine in the view, and makes sure of the layers that they can be.
func (i *instance) showOthers() error {
	place := func(target string) (string, error) {
		// Made by the folder's own path: the machine's root is nobody in the view.
		return i.seen(target), os.MkdirAll(target, 0o755)
	}
	i.layers = map[string]string{}
	for n, dir := range i.args.Layers {
		path, err := place(filepath.Join(i.args.Dir, "layers", strconv.Itoa(n)))
		if err != nil {
			return err
		}
		tree, err := i.mapped(dir)
		if err != nil {
			return err
		}
		unix.Close(tree) //nolint:errcheck // nothing was written
		i.layers[dir] = path
	}
	for volume, dir := range i.args.Hosts {
		path, err := place(HostPath(i.args.Dir, volume))
		if err != nil {
			return err
		}
		if err := i.show(dir, path); err != nil {
			return err
		}
	}
	return nil
}

// withLayers shows layers to f, by the paths that it gets. A mounted overlay holds them itself; what stays mounted would make every
// later creation slower, since a runtime begins with a copy of all mounts of the helper.
func (i *instance) withLayers(layers []string, f func(seen []string) error) (err error) {
	if i.users == nil {
		return f(layers)
	}
	var seen []string
	defer func() {
		for _, path := range seen {
			if uerr := unix.Unmount(path, unix.MNT_DETACH); uerr != nil {
				err = errors.Join(err, fmt.Errorf("unmounting %s: %w", path, uerr))
			}
		}
	}()
	for _, dir := range layers {
		if err := i.show(dir, i.layers[dir]); err != nil {
			return err
		}
		seen = append(seen, i.layers[dir])
	}
	return f(seen)
}

// mapped takes a directory so that its users are those of the instance, not mounted anywhere yet.
func (i *instance) mapped(source string) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("taking %s to be mounted: %w", source, err)
	}
	err = withFDs([]*os.File{i.users}, nil, func(fds []int) error {
		return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(fds[0])})
	})
	if errors.Is(err, unix.EINVAL) {
		err = errors.New("its file system, or this kernel, maps no users (Linux 5.19 or newer with ext4, xfs, btrfs or tmpfs does)")
	}
	if err != nil {
		unix.Close(tree) //nolint:errcheck // nothing was written
		return 0, fmt.Errorf("%s: %w", source, err)
	}
	return tree, nil
}

// show mounts a directory so that its users are those of the instance.
func (i *instance) show(source, target string) error {
	tree, err := i.mapped(source)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s: %w", source, err)
	}
	return nil
}

// seen is a path of the instance's folder in its view.
func (i *instance) seen(path string) string {
	if i.users == nil {
		return path
	}
	rel, err := filepath.Rel(i.args.Dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path
	}
	return filepath.Join(i.view, rel)
}

// own gives pipes to a user of the instance, who may open them again by way of /dev/stdout.
func (i *instance) own(uid uint32, files ...*os.File) error {
	if i.users == nil {
		return nil
	}
	for _, f := range files {
		info, err := f.Stat()
		if err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			err = f.Chown(int(i.ids.First+uid), int(i.ids.First))
		}
		if err != nil {
			return fmt.Errorf("handing over the output: %w", err)
		}
	}
	return nil
}

// ownFor is own for the user of an OCI process.
func (i *instance) ownFor(process json.RawMessage, files ...*os.File) error {
	var p struct {
		User struct {
			UID uint32 `json:"uid"`
		} `json:"user"`
	}
	if err := json.Unmarshal(process, &p); err != nil {
		return err
	}
	return i.own(p.User.UID, files...)
}
