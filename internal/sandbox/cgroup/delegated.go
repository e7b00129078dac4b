package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// needed are the controllers without which a delegated tree is of no use. In version 1 the freezer is used too if it is there.
func needed() []string { return []string{"cpu", "memory", "pids"} }

// writable says whether this process may change groups in directories.
func (t *Tree) writable(dirs []string) bool {
	for _, dir := range dirs {
		for _, file := range []string{"", "cgroup.procs"} {
			if unix.Faccessat(unix.AT_FDCWD, filepath.Join(dir, file), unix.W_OK, unix.AT_EACCESS) != nil {
				return false
			}
		}
	}
	return true
}

// below gives the tree that begins at groups of this one, if they can be changed and are ok; otherwise one without controllers.
func (t *Tree) below(base Place, ok func(*Tree) bool) *Tree {
	out := &Tree{mode: t.mode, dirs: map[string]string{}, base: Place{}}
	if t.mode == V2 {
		path := base[t.root]
		if filepath.Base(path) == leaf { // where the processes of the group went
			path = filepath.Dir(path)
		}
		out.root = filepath.Join(t.root, path)
		out.base[out.root] = path
	}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "freezer"} {
		dir := filepath.Join(t.dirs[c], base[t.dirs[c]])
		if t.dirs[c] == "" || c == "freezer" && !t.writable([]string{dir}) {
			continue
		}
		out.dirs[c] = dir
		out.base[dir] = base[t.dirs[c]]
	}
	if t.mode == None || len(base) == 0 || slices.Contains(paths(out.base), "/") || !out.writable(out.roots()) || !ok(out) {
		return t.Without()
	}
	return out
}

// Without gives the same machine with nothing that can be limited.
func (t *Tree) Without() *Tree { return &Tree{mode: None, covered: t.mode == Hybrid || t.covered} }

func paths(p Place) (all []string) {
	for _, path := range p {
		all = append(all, path)
	}
	return all
}

// delegated says whether a tree has what is needed and is this process's alone: version 2 wants its processes moved aside.
func delegated(t *Tree) bool {
	if t.mode != V2 {
		return !slices.ContainsFunc(append(needed(), "cpuacct"), func(c string) bool { return t.dirs[c] == "" })
	}
	controllers, err := os.ReadFile(filepath.Join(t.root, "cgroup.controllers"))
	has := strings.Fields(string(controllers))
	if err != nil || slices.ContainsFunc(needed(), func(c string) bool { return !slices.Contains(has, c) }) {
		return false
	}
	procs, err := os.ReadFile(filepath.Join(t.root, "cgroup.procs"))
	return err == nil && !slices.ContainsFunc(strings.Fields(string(procs)), func(pid string) bool { return !ours(pid) })
}

// ours says whether a process is this one or a child of it.
func ours(pid string) bool {
	self := strconv.Itoa(os.Getpid())
	if pid == self {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return true // it has ended
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return len(fields) > 1 && fields[1] == self
}

// Start starts a command in a group. home is the group that this process is in.
func (t *Tree) Start(cmd *exec.Cmd, path, home string) error {
	if t.mode == V2 {
		dir, err := os.Open(filepath.Join(t.root, path))
		if err != nil {
			return err
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return cmd.Start()
	}
	runtime.LockOSThread() // its children begin where the thread is
	if err := t.EnterThread(path); err != nil {
		return err // the thread ends with its goroutine
	}
	err := cmd.Start()
	if back := t.EnterThread(home); back != nil {
		return back
	}
	runtime.UnlockOSThread()
	return err
}
