// Package cgroup places, measures, freezes and clears control groups on machines with version 1, version 2 or both.
//
// On a machine that mounts both (hybrid) the controllers are in version 1, which is then used; version 2 is used where
// /sys/fs/cgroup is itself a version 2 mount. Groups are named by their path below the root, such as "/fairlead/x/y", and are the
// same path in every version 1 controller.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is the layout of control groups on a machine.
type Mode string

const (
	None   Mode = "none"   // no controllers: nothing can be limited
	V1     Mode = "v1"     // version 1
	Hybrid Mode = "hybrid" // version 1, with version 2 mounted at unified
	V2     Mode = "v2"     // version 2
)

const mountPoint = "/sys/fs/cgroup"

// leaf is the group that takes the processes of a version 2 root group.
const leaf = "init"

// used are the version 1 controllers this package reads or the runtime writes.
var used = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio", "hugetlb", "perf_event", "name=systemd"}

// Tree is the control groups of a machine.
type Tree struct {
	mode Mode
	dirs map[string]string // version 1: controller to the directory of the root group
	root string            // version 2: the directory of the root group
	// base is set if the root groups are not the machine's but what was delegated to an ordinary user: the path of each directory
	// below its mount point.
	base Place
	// covered: this is a hybrid machine whose groups cannot be changed
	covered bool
}

// Open finds out how control groups are mounted. Where the root group is not this process's to change, as for an ordinary user, the
// tree begins at this process's own groups if they were delegated to it, see Delegated; otherwise the mode is None.
func Open() (*Tree, error) {
	t, err := open()
	if err != nil || t.writable(t.roots()) {
		return t, err
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("asking for this process's control groups: %w", err)
	}
	return t.below(t.parsePlace(string(data)), delegated), nil
}

// OpenAt is Open for a process that another one has told where the tree begins, by Base; nil: at the machine's root, if anywhere.
func OpenAt(base Place) (*Tree, error) {
	t, err := open()
	if err != nil || base == nil && t.writable(t.roots()) {
		return t, err
	}
	return t.below(base, func(*Tree) bool { return base != nil }), nil
}

// Delegated says whether the tree begins at groups that were delegated to an ordinary user. OCI runtimes do not find these.
func (t *Tree) Delegated() bool { return t.base != nil }

// Base is where the tree begins, for OpenAt; nil if that is the machine's root.
func (t *Tree) Base() Place {
	if t.base == nil {
		return nil
	}
	out := Place{}
	for dir, path := range t.base {
		out[strings.TrimSuffix(dir, path)] = path
	}
	return out
}

// Hybrid says whether the machine mounts version 2 beside version 1, also where neither can be changed.
func (t *Tree) Hybrid() bool { return t.mode == Hybrid || t.covered }

func open() (*Tree, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	defer f.Close()
	t := &Tree{mode: None, dirs: map[string]string{}}
	unified := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		where, kind, options := fields[1], fields[2], strings.Split(fields[3], ",")
		switch {
		case kind == "cgroup2" && where == mountPoint:
			return &Tree{mode: V2, root: mountPoint}, nil
		case kind == "cgroup2":
			unified = true
		case kind == "cgroup" && filepath.Dir(where) == mountPoint:
			for _, c := range used {
				if slices.Contains(options, c) {
					t.dirs[c] = where
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	switch {
	case t.dirs["memory"] != "" && unified:
		t.mode = Hybrid
	case t.dirs["memory"] != "":
		t.mode = V1
	}
	return t, nil
}

// Mode says which layout the machine has.
func (t *Tree) Mode() Mode { return t.mode }

// roots are the directories that a group has: one for version 2, one for each mounted controller otherwise.
func (t *Tree) roots() []string {
	if t.mode == V2 {
		return []string{t.root}
	}
	var out []string
	for _, dir := range t.dirs {
		if !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}

// file is a file of a group; controller counts in version 1 only.
func (t *Tree) file(controller, path, name string) string {
	if t.mode == V2 {
		return filepath.Join(t.root, path, name)
	}
	return filepath.Join(t.dirs[controller], path, name)
}

// Make makes a group and the groups above it, with the controllers of version 2 handed down.
func (t *Tree) Make(path string) error {
	if t.mode == V2 {
		return t.make2(path)
	}
	for _, root := range t.roots() {
		err := os.MkdirAll(filepath.Join(root, path), 0o755)
		for n := 0; n < 3 && errors.Is(err, fs.ErrNotExist); n++ { // another daemon removed an empty group above it
			err = os.MkdirAll(filepath.Join(root, path), 0o755)
		}
		if err != nil {
			return fmt.Errorf("making the control group %s: %w", path, err)
		}
	}
	return nil
}

func (t *Tree) make2(path string) error {
	dir := t.root
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		for _, c := range []string{"+cpu", "+memory", "+pids", "+cpuset", "+io"} {
			err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(c), 0)
			if errors.Is(err, unix.EBUSY) && dir == t.root {
				if err = t.evacuate(); err == nil {
					err = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(c), 0)
				}
			}
			if err != nil && (c == "+memory" || c == "+cpu" || c == "+pids") {
				return fmt.Errorf("handing the controller %s down below %s: %w", c[1:], dir, err)
			}
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the control group %s: %w", path, err)
		}
	}
	return nil
}

// evacuate moves the processes of the root group into a group of their own. Inside of a container the root group is one like
// any other to the kernel, and a version 2 group that hands controllers down may have no processes itself.
func (t *Tree) evacuate() error {
	if err := os.Mkdir(filepath.Join(t.root, leaf), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a control group for the processes of the root group: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(t.root, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(data)) {
		err := os.WriteFile(filepath.Join(t.root, leaf, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) && pid != "0" { // 0 is one that this namespace does not see
			return fmt.Errorf("moving process %s out of the root control group: %w", pid, err)
		}
	}
	return nil
}

// Enter moves a process into a group.
func (t *Tree) Enter(path string, pid int) error {
	for _, root := range t.roots() {
		if root == t.dirs["cpuset"] {
			continue // a fresh version 1 cpuset has no processors and takes nobody
		}
		if err := os.WriteFile(filepath.Join(root, path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("entering the control group %s: %w", path, err)
		}
	}
	return nil
}

// EnterThread moves the calling thread into a group, where its children will be. Version 2 cannot part a process: all of it moves.
func (t *Tree) EnterThread(path string) error {
	file := "tasks"
	if t.mode == V2 {
		file = "cgroup.procs"
	}
	for _, root := range t.roots() {
		if root == t.dirs["cpuset"] {
			continue // as above
		}
		if err := os.WriteFile(filepath.Join(root, path, file), []byte("0"), 0); err != nil {
			return fmt.Errorf("entering the control group %s: %w", path, err)
		}
	}
	return nil
}

// Procs lists the processes in a group and all groups below it. A group that is not there has none.
func (t *Tree) Procs(path string) ([]int, error) {
	seen := map[int]bool{}
	for _, root := range t.roots() {
		err := filepath.WalkDir(filepath.Join(root, path), func(dir string, d fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if !d.IsDir() {
				return nil
			}
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
				return err
			}
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing the processes of %s: %w", path, err)
		}
	}
	var pids []int
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// Remove removes a group and all groups below it, which must have no processes; it waits up to the given time for processes that
// are just ending.
func (t *Tree) Remove(path string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		var last error
		for _, root := range t.roots() {
			if err := removeTree(filepath.Join(root, path)); err != nil {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		if !errors.Is(last, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("removing the control group %s: %w", path, last)
		}
		time.Sleep(2 * time.Millisecond) // the kernel tells nobody when a version 1 group can be removed
	}
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Children lists the names of the groups directly below a group.
func (t *Tree) Children(path string) ([]string, error) {
	var names []string
	for _, root := range t.roots() {
		entries, err := os.ReadDir(filepath.Join(root, path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing the control groups below %s: %w", path, err)
		}
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// Kill ends every process of a group and of all groups below it with SIGKILL, also frozen ones, and waits until they are gone.
func (t *Tree) Kill(path string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		pids, err := t.Procs(path)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing process %d of %s: %w", pid, path, err)
			}
		}
		if err := t.ThawAll(path); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of %s do not end", pids, path)
		}
		time.Sleep(2 * time.Millisecond) // as above
	}
}
