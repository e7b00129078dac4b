package helper

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// leastLandlock is the first version of Landlock that lets a program rename files between directories (Linux 5.19).
const leastLandlock = 2

// LandlockVersion is the version (ABI) of Landlock that the process driver uses on this machine, 0 if the kernel has none that
// ordinary programs can live with.
func LandlockVersion() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || n < leastLandlock {
		return 0
	}
	return int(n)
}

// What may be done below a directory. Block and character devices are made nowhere.
const (
	mayRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER
	mayMake  = unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR
	mayDrive = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// forFile are the rights that a rule for a file may have.
	forFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// handled are the rights that a version knows: what is handled and not allowed by a rule is refused.
func handled(version int) uint64 {
	all := uint64(mayRead | mayWrite | mayMake | mayDrive)
	if version < 3 {
		all &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version < 5 {
		all &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return all
}

// rule allows rights on what is at a path and below it.
type rule struct {
	path   string
	rights uint64
}

// fileRules are what a container may do with the files it sees. Its root is its own, to write too unless that is refused: then only
// the mounts in it that are not read-only can be written to.
func fileRules(spec *specs.Spec) []rule {
	rules := []rule{{"/dev", mayRead | mayWrite | mayDrive}}
	if !spec.Root.Readonly {
		return append(rules, rule{"/", mayRead | mayWrite})
	}
	rules = append(rules, rule{"/", mayRead})
	for _, m := range spec.Mounts {
		if m.Type != "cgroup" && !slices.Contains(m.Options, "ro") {
			rules = append(rules, rule{m.Destination, mayRead | mayWrite})
		}
	}
	return rules
}

// restrictFiles confines this thread, and what it becomes, to the files that the rules name, by Landlock. It also ends all
// changes of mounts, and looking into processes that are not confined alike.
func restrictFiles(version int, rules []rule) error {
	if version == 0 {
		return nil
	}
	known := handled(version)
	attr := unix.LandlockRulesetAttr{Handled_access_fs: known}
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return fmt.Errorf("making a Landlock rule set: %w", errno)
	}
	set := int(n)
	defer unix.Close(set)
	for _, r := range rules {
		if err := addRule(set, r, known); err != nil {
			return fmt.Errorf("allowing %s by Landlock: %w", r.path, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(set), 0, 0); errno != 0 {
		return fmt.Errorf("confining by Landlock: %w", errno)
	}
	return nil
}

func addRule(set int, r rule, known uint64) error {
	fd, err := unix.Open(r.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	beneath := unix.LandlockPathBeneathAttr{Allowed_access: r.rights & known, Parent_fd: int32(fd)}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		beneath.Allowed_access &= forFile
	}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&beneath)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
