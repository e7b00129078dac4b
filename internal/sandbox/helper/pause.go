package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pauseTime bounds how long the processes of an instance may take to stop.
const pauseTime = 10 * time.Second

// pause stops every process of an instance by SIGSTOP, for machines whose control groups have no freezer. A process may make
// another while it is being stopped, so it looks again until all it finds have stopped.
func (s *server) pause(name string) error {
	i, err := s.find(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), pauseTime)
	defer cancel()
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		procs, err := i.processes()
		if err != nil {
			return err
		}
		moving := 0
		for _, p := range procs {
			if strings.ContainsRune("TtZX", rune(p.state)) {
				continue
			}
			moving++
			if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stopping process %d of instance %s: %w", p.pid, name, err)
			}
		}
		if moving == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%d processes of instance %s do not stop", moving, name)
		}
	}
}

// resume lets the processes of an instance run that pause has stopped.
func (s *server) resume(name string) error {
	i, err := s.find(name)
	if err != nil {
		return err
	}
	procs, err := i.processes()
	if err != nil {
		return err
	}
	var all []error
	for _, p := range procs {
		if err := unix.Kill(p.pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
			all = append(all, fmt.Errorf("continuing process %d of instance %s: %w", p.pid, name, err))
		}
	}
	return errors.Join(all...)
}

// proc is a line of the table of processes.
type proc struct {
	pid, parent int
	state       byte
}

// processes lists what runs in an instance: the first process of each container, all that share its process namespace (what
// was run by exec does not descend from it), and all their descendants.
func (i *instance) processes() ([]proc, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	firsts, spaces := map[int]bool{}, map[string]bool{}
	i.mu.Lock()
	for _, c := range i.containers {
		if c.exited() != nil {
			continue
		}
		firsts[c.created.Pid] = true
		if c.gofer != 0 {
			firsts[c.gofer] = true
		}
		if ns := processSpace(c.created.Pid); ns != "" && ns != own {
			spaces[ns] = true
		}
	}
	i.mu.Unlock()
	all, err := processTable()
	if err != nil {
		return nil, err
	}
	var out []proc
	within := map[int]bool{}
	for grown := true; grown; { // parents may have higher numbers than their children
		grown = false
		for _, p := range all {
			if !within[p.pid] && (firsts[p.pid] || within[p.parent] || spaces[processSpace(p.pid)]) {
				within[p.pid], grown = true, true
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// processSpace names the process namespace of a process; empty if it has ended.
func processSpace(pid int) string {
	ns, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	if err != nil {
		return ""
	}
	return ns
}

// processTable lists the processes of the machine.
func processTable() ([]proc, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []proc
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(string(data)); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// parseStat reads the first fields of /proc/PID/stat. The name between the parentheses may hold anything.
func parseStat(line string) (proc, bool) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return proc{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	fields := strings.Fields(line[end+1:])
	if err != nil || len(fields) < 2 || len(fields[0]) != 1 || fields[0][0] < 'A' {
		return proc{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return proc{pid: pid, parent: parent, state: fields[0][0]}, err == nil
}
