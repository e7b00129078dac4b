package helper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountRoot mounts the root file system of a container: its image's directories, read-only, below a writable one.
func (s *server) mountRoot(i *instance, c *container) error {
	scratch := filepath.Join(i.seen(ScratchDir(i.args.Dir)), c.args.Container)
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	for _, dir := range []string{upper, work, rootDir(c.args.Bundle)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// The image's own /tmp, if any, shows through.
	tmp := filepath.Join(upper, "tmp")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil {
		return err
	}
	for _, dir := range []string{upper, tmp} {
		if err := os.Chown(dir, int(i.ids.First), int(i.ids.First)); err != nil {
			return err
		}
	}
	err := i.withLayers(c.args.Lowers, func(lowers []string) error {
		return overlay(lowers, upper, work, i.seen(rootDir(c.args.Bundle)))
	})
	if err != nil {
		return fmt.Errorf("mounting the root file system of %s: %w", c.id, err)
	}
	return nil
}

// rootDir is where in a bundle its root file system is mounted.
func rootDir(bundle string) string { return filepath.Join(bundle, "rootfs") }

// overlay mounts lowers (base first) below upper at target.
func overlay(lowers []string, upper, work, target string) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return oldOverlay(lowers, upper, work, target)
	}
	if err != nil {
		return fmt.Errorf("opening overlay: %w", err)
	}
	defer unix.Close(fd)
	for _, dir := range slices.Backward(lowers) {
		if err := unix.FsconfigSetString(fd, "lowerdir+", dir); err != nil {
			if errors.Is(err, unix.EINVAL) {
				return oldOverlay(lowers, upper, work, target) // before Linux 6.5
			}
			return fmt.Errorf("layer %s: %w", dir, err)
		}
	}
	for _, kv := range [][2]string{{"upperdir", upper}, {"workdir", work}} {
		if err := unix.FsconfigSetString(fd, kv[0], kv[1]); err != nil {
			return fmt.Errorf("%s %s: %w", kv[0], kv[1], err)
		}
	}
	if Rootless() { // the other attributes are for the machine's root
		if err := unix.FsconfigSetFlag(fd, "userxattr"); err != nil {
			return fmt.Errorf("overlay without root: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("joining %d layers: %w", len(lowers), err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("joining %d layers: %w", len(lowers), err)
	}
	defer unix.Close(mount)
	return unix.MoveMount(mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// oldOverlay is for kernels without the calls above; all paths must fit in one page.
func oldOverlay(lowers []string, upper, work, target string) error {
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	var dirs []string
	for _, dir := range slices.Backward(lowers) {
		dirs = append(dirs, escape.Replace(dir))
	}
	options := "lowerdir=" + strings.Join(dirs, ":") + ",upperdir=" + escape.Replace(upper) + ",workdir=" + escape.Replace(work)
	if Rootless() {
		options += ",userxattr"
	}
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("the image has too many layers (%d) for this kernel: build it with fewer, or use Linux 6.5 or newer", len(lowers))
	}
	return unix.Mount("overlay", target, "overlay", 0, options)
}
