package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// held counts what an instance could leave behind.
func held(t *testing.T, dir string, pid int) map[string]int {
	t.Helper()
	list := func(path string) int {
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	children, files, groups, namespaces := 0, 0, 0, map[string]bool{}
	procs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		rest := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if rest[1] == strconv.Itoa(pid) {
			children++
			for _, kind := range []string{"net", "mnt", "pid", "ipc", "uts", "user"} {
				if ns, err := os.Readlink(filepath.Join(filepath.Dir(p), "ns", kind)); err == nil {
					namespaces[ns] = true
				}
			}
		}
	}
	for _, sub := range []string{"instances", "runtime"} {
		filepath.WalkDir(filepath.Join(dir, sub), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files++
			}
			return nil
		})
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/leak-") {
			groups++
		}
		return nil
	})
	return map[string]int{
		"goroutines":                runtime.NumGoroutine(),
		"goroutines of the helper":  helperGoroutines(t, dir),
		"descriptors":               list("/proc/self/fd"),
		"descriptors of the helper": list(fmt.Sprintf("/proc/%d/fd", pid)),
		"mounts of the helper":      strings.Count(string(mounts), "\n"),
		"mounts":                    strings.Count(string(own), dir), // others mount things too
		"children of the helper":    children,
		"namespaces":                len(namespaces),
		"control groups":            groups,
		"files":                     files,
		"instance folders":          list(filepath.Join(dir, "instances")),
	}
}

// helperGoroutines asks the helper how many it has.
func helperGoroutines(t *testing.T, dir string) int {
	t.Helper()
	c, err := helper.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- c.Run(ctx, func(helper.Event) {}) }()
	n, err := c.Goroutines(t.Context())
	cancel()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNothingIsLeft makes and ends instances in every way and counts. SANDBOX_CYCLES sets how many (default 12).
func TestNothingIsLeft(t *testing.T) {
	cycles := 12
	if s := os.Getenv("SANDBOX_CYCLES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		cycles = n
	}
	dir := t.TempDir()
	m := start(t, sandbox.Config{Dir: dir})
	pid := helperPid(t, dir)
	cycle := func(n int) {
		i := create(t, m, web(t, func(s *sandbox.Spec) {
			s.ID = fmt.Sprintf("leak-%d", n)
			s.Volumes = []sandbox.Volume{{Name: "v", Empty: &sandbox.EmptyVolume{Memory: true}}}
			s.Containers[0].Mounts = []sandbox.Mount{{Volume: "v", Path: "/v"}}
		}))
		if n%4 != 0 {
			if err := i.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			ready(t, i)
		}
		if n%4 == 2 {
			get(t, i, "/exit?code=1")
			until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
		}
		if n%4 == 3 {
			if err := i.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := i.Exec(t.Context(), "", sandbox.ExecOptions{Args: []string{"/nothing"}}); err == nil {
			t.Error("exec of a missing program went well")
		}
		if err := i.Stop(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 4 {
		cycle(n)
	}
	before := held(t, dir, pid)
	var wg sync.WaitGroup
	for worker := range 2 {
		wg.Go(func() {
			for n := range cycles / 2 {
				cycle(100 + 2*n + worker)
			}
		})
	}
	wg.Wait()
	var after map[string]int
	waitFor(t, fmt.Sprintf("the counts to be again %v", before), func() bool {
		after = held(t, dir, pid)
		for what, n := range before {
			if after[what] > n {
				if what == "goroutines" && after[what] <= n+2 { // of net/http clients in the test itself
					continue
				}
				t.Logf("%s: %d, before %d", what, after[what], n)
				return false
			}
		}
		return true
	})
	t.Logf("%d instances; %-28s %8s %8s", cycles, "held", "before", "after")
	for _, what := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%-44s %8d %8d", what, before[what], after[what])
	}
}
