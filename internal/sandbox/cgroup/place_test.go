package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPlace(t *testing.T) {
	const text = "9:name=systemd:/a\n4:memory:/b/../c\n2:cpu,cpuacct:/d:e\n7:net_cls:/f\n0::/two\nbad\n"
	one := &Tree{mode: Hybrid, dirs: map[string]string{"name=systemd": "/cg/systemd", "memory": "/cg/memory", "cpu": "/cg/cpu", "cpuacct": "/cg/cpu"}}
	if got := one.parsePlace(text); !maps.Equal(got, Place{"/cg/systemd": "/a", "/cg/memory": "/c", "/cg/cpu": "/d:e"}) {
		t.Errorf("version 1: %v", got)
	}
	two := &Tree{mode: V2, root: mountPoint}
	if got := two.parsePlace(text); !maps.Equal(got, Place{mountPoint: "/two"}) {
		t.Errorf("version 2: %v", got)
	}
}

// TestThereAndBack enters a group, comes back and leaves nothing.
func TestThereAndBack(t *testing.T) {
	tree, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 || tree.Mode() == None {
		t.Skip("no control groups to work with")
	}
	was, err := tree.Place()
	if err != nil || len(was) == 0 {
		t.Fatalf("%v, %v", was, err)
	}
	top := "/fairlead-place" + time.Now().Format("150405.000000")
	path := filepath.Join(top, "x", "y")
	if err := tree.Make(path); err != nil {
		t.Fatal(err)
	}
	if err := tree.Enter(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := tree.Prime(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if pids, err := tree.Procs(path); err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("priming moved the process: %v, %v", pids, err)
	}
	if err := tree.Prune(path); err != nil {
		t.Fatal(err)
	}
	if names, err := tree.Children(top); err != nil || len(names) != 1 {
		t.Errorf("groups that are in use were removed: %v, %v", names, err)
	}
	if err := tree.Return(was); err != nil {
		t.Fatal(err)
	}
	if now, err := tree.Place(); err != nil || !maps.Equal(now, was) {
		t.Errorf("came back to %v, %v, not to %v", now, err, was)
	}
	if err := tree.Prune(path); err != nil {
		t.Fatal(err)
	}
	for _, root := range tree.roots() {
		if _, err := os.Stat(filepath.Join(root, top)); !os.IsNotExist(err) {
			t.Errorf("%s is left in %s: %v", top, root, err)
		}
	}
}
