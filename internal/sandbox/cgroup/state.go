package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CanFreeze says whether groups can be frozen.
func (t *Tree) CanFreeze() bool { return t.mode == V2 || t.dirs["freezer"] != "" }

// Freeze stops every process of a group and of the groups below it in place, and returns when all have stopped.
// errors.ErrUnsupported where CanFreeze is false.
func (t *Tree) Freeze(ctx context.Context, path string) error {
	if !t.CanFreeze() {
		return fmt.Errorf("this machine has no freezer of control groups: %w", errors.ErrUnsupported)
	}
	if t.mode == V2 {
		return t.set(ctx, path, "cgroup.freeze", "1", frozen2(true))
	}
	return t.set(ctx, path, "freezer.state", "FROZEN", frozen1("FROZEN"))
}

// Thaw lets a frozen group run again.
func (t *Tree) Thaw(ctx context.Context, path string) error {
	if !t.CanFreeze() {
		return nil
	}
	if t.mode == V2 {
		return t.set(ctx, path, "cgroup.freeze", "0", frozen2(false))
	}
	return t.set(ctx, path, "freezer.state", "THAWED", frozen1("THAWED"))
}

// Frozen says whether a group is frozen.
func (t *Tree) Frozen(path string) (bool, error) {
	if !t.CanFreeze() {
		return false, nil
	}
	if t.mode == V2 {
		return frozen2(true)(t, path)
	}
	return frozen1("FROZEN")(t, path)
}

func frozen1(want string) func(*Tree, string) (bool, error) {
	return func(t *Tree, path string) (bool, error) {
		state, err := os.ReadFile(t.file("freezer", path, "freezer.state"))
		return string(bytes.TrimSpace(state)) == want, err
	}
}

func frozen2(want bool) func(*Tree, string) (bool, error) {
	return func(t *Tree, path string) (bool, error) {
		events, err := readPairs(t.file("", path, "cgroup.events"))
		return (events["frozen"] == 1) == want, err
	}
}

func (t *Tree) set(ctx context.Context, path, name, value string, reached func(*Tree, string) (bool, error)) error {
	if err := os.WriteFile(t.file("freezer", path, name), []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s of the control group %s: %w", name, path, err)
	}
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		ok, err := reached(t, path)
		if err != nil {
			return fmt.Errorf("reading %s of the control group %s: %w", name, path, err)
		}
		if ok {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("setting %s of the control group %s: %w", name, path, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// ThawAll lets a group and all below it run, so that killed processes can end. A group that is not there is no error.
func (t *Tree) ThawAll(path string) error {
	name, value := "freezer.state", "THAWED"
	root := t.dirs["freezer"]
	if t.mode == V2 {
		name, value, root = "cgroup.freeze", "0", t.root
	}
	if root == "" {
		return nil
	}
	return filepath.WalkDir(filepath.Join(root, path), func(dir string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.WriteFile(filepath.Join(dir, name), []byte(value), 0)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	})
}

// Usage is what a group and the groups below it use.
type Usage struct {
	CPU         time.Duration // since the group was made
	MemoryBytes int64         // without file cache that can be dropped
	Pids        int64
}

// Usage reads what a group uses. It returns fs.ErrNotExist if the group is gone.
func (t *Tree) Usage(path string) (Usage, error) {
	if t.mode == None {
		return Usage{}, fmt.Errorf("there are no control groups to measure by: %w", errors.ErrUnsupported)
	}
	if t.mode == V2 {
		return t.usage2(path)
	}
	var u Usage
	cpu, err := readInt(t.file("cpuacct", path, "cpuacct.usage"))
	if err != nil {
		return u, err
	}
	memory, err := readInt(t.file("memory", path, "memory.usage_in_bytes"))
	if err != nil {
		return u, err
	}
	stat, err := readPairs(t.file("memory", path, "memory.stat"))
	if err != nil {
		return u, err
	}
	u.CPU = time.Duration(cpu)
	u.MemoryBytes = max(0, memory-stat["total_inactive_file"])
	u.Pids, err = readInt(t.file("pids", path, "pids.current"))
	return u, err
}

func (t *Tree) usage2(path string) (Usage, error) {
	var u Usage
	cpu, err := readPairs(t.file("", path, "cpu.stat"))
	if err != nil {
		return u, err
	}
	memory, err := readInt(t.file("", path, "memory.current"))
	if err != nil {
		return u, err
	}
	stat, err := readPairs(t.file("", path, "memory.stat"))
	if err != nil {
		return u, err
	}
	u.CPU = time.Duration(cpu["usage_usec"]) * time.Microsecond
	u.MemoryBytes = max(0, memory-stat["inactive_file"])
	u.Pids, err = readInt(t.file("", path, "pids.current"))
	return u, err
}

// Breaches counts how often a group ran into its limits.
type Breaches struct {
	OOMKills int64 // processes killed because of the memory limit
	Pids     int64 // refused forks
}

// Breaches reads the counters of a group and of those below it, which a runtime may have made. What the kernel does not count is
// zero; a group that is gone has none.
func (t *Tree) Breaches(path string) Breaches {
	if t.mode == V2 { // the counters are those of the whole subtree
		m, _ := readPairs(t.file("", path, "memory.events")) // a missing file is a missing counter
		p, _ := readPairs(t.file("", path, "pids.events"))
		return Breaches{OOMKills: m["oom_kill"], Pids: p["max"]}
	}
	return Breaches{
		OOMKills: sumPairs(t.file("memory", path, ""), "memory.oom_control", "oom_kill"),
		Pids:     sumPairs(t.file("pids", path, ""), "pids.events", "max"),
	}
}

// sumPairs adds up one counter of a directory and those below it.
func sumPairs(dir, file, name string) (sum int64) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // what is gone counts nothing
		if err == nil && d.IsDir() {
			pairs, _ := readPairs(filepath.Join(path, file))
			sum += pairs[name]
		}
		return nil
	})
	return sum
}

func readInt(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
}

// readPairs reads a file of lines "name value".
func readPairs(file string) (map[string]int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pairs := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			pairs[name] = n
		}
	}
	return pairs, nil
}
