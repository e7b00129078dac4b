package helper

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHideVersion2 runs itself in a mount namespace with a tree as systemd makes it on a hybrid machine: read-only, with a folder
// for version 2, a link, and an empty folder.
func TestHideVersion2(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup/memory", &fs); err != nil || fs.Type != unix.CGROUP_SUPER_MAGIC {
		t.Skip("this machine has no version 1 control groups")
	}
	if os.Getenv("FAIRLEAD_TEST_HYBRID") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHideVersion2$", "-test.v")
		cmd.Env = append(os.Environ(), "FAIRLEAD_TEST_HYBRID="+t.TempDir())
		cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := os.Getenv("FAIRLEAD_TEST_HYBRID")
	likeSystemd(t, filepath.Join(dir, "tree"))
	view := filepath.Join(dir, "view")
	if err := hideVersion2(view); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(groupsDir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) != 2 || names[0] != "mem" || names[1] != "memory" {
		t.Errorf("crun would see %q, want mem and memory", names)
	}
	if err := unix.Statfs(filepath.Join(groupsDir, "mem"), &fs); err != nil || fs.Type != unix.CGROUP_SUPER_MAGIC {
		t.Errorf("the link leads to a file system of type %x, %v", fs.Type, err)
	}
	if _, err := os.Stat(view); !os.IsNotExist(err) {
		t.Errorf("the place where the tree was put together is left: %v", err)
	}
}

// likeSystemd covers the control groups with a read-only tree.
func likeSystemd(t *testing.T, tree string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(os.Mkdir(tree, 0o755))
	check(unix.Mount("tmpfs", tree, "tmpfs", 0, ""))
	for _, name := range []string{"memory", "unified", "perf_event"} {
		check(os.Mkdir(filepath.Join(tree, name), 0o755))
	}
	check(os.Symlink("memory", filepath.Join(tree, "mem")))
	check(unix.Mount("/sys/fs/cgroup/memory", filepath.Join(tree, "memory"), "", unix.MS_BIND, ""))
	check(unix.Mount(tree, groupsDir, "", unix.MS_BIND|unix.MS_REC, ""))
	check(unix.Mount("", groupsDir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}
