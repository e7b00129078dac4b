package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Place is where a process is in the control groups of a machine: a path for each directory that groups are mounted at.
type Place map[string]string

// Place tells where this process is.
func (t *Tree) Place() (Place, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("asking for this process's control groups: %w", err)
	}
	return t.parsePlace(string(data)), nil
}

// parsePlace reads lines "number:controllers:path"; version 2 has number 0 and no controllers.
func (t *Tree) parsePlace(text string) Place {
	p := Place{}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || !strings.HasPrefix(fields[2], "/") {
			continue
		}
		if t.mode == V2 && fields[1] == "" {
			p[t.root] = t.within(t.root, fields[2])
		}
		for _, c := range strings.Split(fields[1], ",") {
			if dir := t.dirs[c]; dir != "" && t.mode != V2 {
				p[dir] = t.within(dir, fields[2])
			}
		}
	}
	return p
}

// within is a path as it is called below the group that a directory stands for.
func (t *Tree) within(dir, path string) string {
	path = filepath.Clean(path)
	if rest, ok := strings.CutPrefix(path, t.base[dir]); ok {
		return filepath.Join("/", rest)
	}
	return path
}

// Return moves this process back to where it was. Where that group is gone it goes to the root.
func (t *Tree) Return(p Place) error {
	var all []error
	for root, path := range p {
		if t.mode != V2 && root == t.dirs["cpuset"] {
			continue // Enter leaves it where it is
		}
		all = append(all, enterFirst(root, path, "/", "/"+leaf))
	}
	return errors.Join(all...)
}

// enterFirst moves this process into the first of the groups that takes it.
func enterFirst(root string, paths ...string) error {
	var err error
	for _, path := range paths {
		err = os.WriteFile(filepath.Join(root, path, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("going back to the control group %s: %w", paths[0], err)
}

// Prune removes a group and those above it as far as they are empty.
func (t *Tree) Prune(path string) error {
	var all []error
	for _, root := range t.roots() {
		for p := filepath.Clean(path); p != "/" && p != "."; p = filepath.Dir(p) {
			err := unix.Rmdir(filepath.Join(root, p))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
				break // in use
			}
			if err != nil {
				all = append(all, fmt.Errorf("removing the control group %s: %w", p, err))
				break
			}
		}
	}
	return errors.Join(all...)
}

// Prime makes moves of processes to other groups quick for some milliseconds. The first move after a while waits until the kernel has
// been on every processor (an RCU grace period, 5 to 10 ms); Prime waits for that in advance, by moving a process that is in the group
// of that path to where it is.
func (t *Tree) Prime(path string, pid int) error {
	for _, root := range t.roots() {
		if root == t.dirs["cpuset"] {
			continue // Enter leaves it out
		}
		if err := os.WriteFile(filepath.Join(root, path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("moving a process to where it is, the control group %s: %w", path, err)
		}
		return nil // all hierarchies wait for the same
	}
	return nil
}
