package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// instance is what the helper holds of one instance.
type instance struct {
	args    OpenArgs
	sockets *netns.Sockets // nil with HostNetwork
	log     *logs.Writer
	mounts  []string // in the order they were made
	view    string   // args.Dir, or where it is seen with the instance's users
	users   *os.File // user namespace; nil: the machine's
	ids     Range
	layers  map[string]string // args.Layers as they are seen with the instance's users

	mu         sync.Mutex
	containers map[string]*container
	execs      map[string]*execution
}

// ScratchDir is where in an instance's folder its writable layers are.
func ScratchDir(instanceDir string) string { return filepath.Join(instanceDir, "scratch") }

// NetNSPath is where in an instance's folder its network namespace is, seen from the helper.
func NetNSPath(instanceDir string) string { return filepath.Join(instanceDir, "netns") }

func (s *server) open(a OpenArgs) (any, []*os.File, error) {
	if a.Moves {
		s.soon()
	}
	i := &instance{args: a, view: a.Dir, containers: map[string]*container{}, execs: map[string]*execution{}}
	err := s.prepareUsers(i)
	if err == nil {
		err = i.prepare(s.opts.LogBytes)
	}
	if err == nil {
		err = s.enlist(a.Instance, i)
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.release(i))
	}
	opened := Opened{View: i.view, Users: i.ids}
	if i.sockets == nil {
		return opened, nil, nil
	}
	return opened, i.sockets.Files(), nil
}

func (s *server) enlist(name string, i *instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errors.New("the sandbox helper is stopping")
	}
	if s.instances[name] != nil {
		return fmt.Errorf("instance %s is open already", name)
	}
	s.instances[name] = i
	return nil
}

func (i *instance) prepare(logBytes int64) (err error) {
	if i.log, err = logs.OpenWriter(i.args.LogDir, logBytes); err != nil {
		return err
	}
	scratch := MemoryDir{Path: ScratchDir(i.args.Dir), SizeBytes: i.args.WritableBytes, Mode: 0o700}
	if err := os.MkdirAll(scratch.Path, 0o700); err != nil {
		return err
	}
	for _, m := range append([]MemoryDir{scratch}, i.args.Memory...) {
		if err := i.mountMemory(m); err != nil {
			return err
		}
	}
	if i.args.HostNetwork {
		return nil
	}
	if i.sockets == nil {
		if i.sockets, err = netns.New(); err != nil {
			return err
		}
	}
	return nameNamespace(NetNSPath(i.args.Dir), i.sockets.Namespace)
}

func (i *instance) mountMemory(m MemoryDir) error {
	options := "mode=" + strconv.FormatUint(uint64(m.Mode), 8)
	if m.SizeBytes > 0 {
		options += ",size=" + strconv.FormatInt(m.SizeBytes, 10)
	}
	options += ",uid=" + strconv.FormatInt(int64(i.ids.First), 10) + ",gid=" + strconv.FormatInt(int64(i.ids.First)+m.GID, 10)
	path := i.seen(m.Path)
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting memory at %s: %w", m.Path, err)
	}
	i.mounted(path)
	return nil
}

// mounted remembers what has to be unmounted one by one. A view takes along what is mounted in it.
func (i *instance) mounted(path string) {
	if i.users == nil {
		i.mounts = append(i.mounts, path)
	}
}

// nameNamespace gives a namespace, which this process holds open as long as the instance, a path that the runtime can open. It is a
// link and no mount: a runtime begins with a copy of all mounts of the helper.
func nameNamespace(path string, namespace *os.File) error {
	return withFDs([]*os.File{namespace}, nil, func(fds []int) error {
		return os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fds[0]), path)
	})
}

// release undoes prepare. What cannot be unmounted is left to the end of the helper's mount namespace.
func (s *server) release(i *instance) error {
	var all []error
	for _, path := range slices.Backward(i.mounts) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			all = append(all, fmt.Errorf("unmounting %s: %w", path, err))
		}
	}
	if i.users != nil {
		if i.view != i.args.Dir {
			all = append(all, os.Remove(i.view))
		}
		i.users.Close()
		s.giveBack(i.ids)
	}
	if i.sockets != nil {
		i.sockets.Close()
	}
	if i.log != nil {
		all = append(all, i.log.Close())
	}
	return errors.Join(all...)
}

func (s *server) find(name string) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.instances[name]; i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("the sandbox helper has no instance %s: %w", name, fs.ErrNotExist)
}

func (s *server) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.instances))
}

func (s *server) adopt(name string) (any, []*os.File, error) {
	i, err := s.find(name)
	if err != nil || i.sockets == nil {
		return nil, nil, err
	}
	return nil, i.sockets.Files(), nil
}

func (s *server) show(name string) (any, []*os.File, error) {
	i, err := s.find(name)
	if err != nil {
		return nil, nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	l := Listed{Instance: name}
	for _, key := range slices.Sorted(maps.Keys(i.containers)) {
		c := i.containers[key]
		l.Containers = append(l.Containers, ListedContainer{Name: key, Run: c.args.Run, Created: c.created, Exit: c.exited()})
	}
	return l, nil, nil
}

// close removes an instance with all its containers. One that is not there is no error.
func (s *server) close(name string) error {
	i, err := s.find(name)
	if err != nil {
		return nil
	}
	var all []error
	i.mu.Lock()
	names := slices.Sorted(maps.Keys(i.containers))
	for _, c := range i.containers {
		if c.exited() == nil {
			all = append(all, c.signal(unix.SIGKILL))
		}
	}
	i.mu.Unlock()
	// A daemon thaws what it ends. Where there is none, a frozen instance could not end.
	if s.tree.Mode() != cgroup.None {
		all = append(all, s.tree.ThawAll(filepath.Join(s.opts.CgroupParent, name)))
	}
	for _, c := range names {
		all = append(all, s.remove(Ref{name, c}))
	}
	s.mu.Lock()
	delete(s.instances, name)
	s.mu.Unlock()
	all = append(all, s.release(i))
	return errors.Join(all...)
}
