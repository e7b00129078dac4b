package helper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const groupsDir = "/sys/fs/cgroup"

// hideVersion2 takes the version 2 control groups of a hybrid machine out of this mount namespace, for crun, which refuses machines with
// both. What is left has no folder for them either: crun would make groups in one, which fails where systemd made
// /sys/fs/cgroup read-only, and else leaves files there for ever. The new tree is put together at view, a path not in use.
func hideVersion2(view string) error {
	if Rootless() { // mounts of the machine cannot be taken away in a user namespace, only covered
		return unix.Mount("tmpfs", filepath.Join(groupsDir, "unified"), "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4k")
	}
	if err := os.Mkdir(view, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	defer os.Remove(view) // only the place; by then the tree has moved
	if err := unix.Mount("tmpfs", view, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return err
	}
	entries, err := os.ReadDir(groupsDir)
	for _, entry := range entries {
		err = errors.Join(err, showGroups(filepath.Join(groupsDir, entry.Name()), filepath.Join(view, entry.Name())))
	}
	if err == nil {
		err = unix.Mount(view, groupsDir, "", unix.MS_MOVE, "")
	}
	if err != nil {
		return errors.Join(err, unix.Unmount(view, unix.MNT_DETACH))
	}
	return nil
}

// showGroups shows one version 1 hierarchy at a second place, or the link that stands for it. Everything else is left out.
func showGroups(from, to string) error {
	if link, err := os.Readlink(from); err == nil {
		return os.Symlink(link, to)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(from, &fs); err != nil || fs.Type != unix.CGROUP_SUPER_MAGIC {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}
