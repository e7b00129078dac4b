package helper

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
)

// confine takes from this thread, and so from what it becomes or starts, what a program of the container may not have. It is the same
// for the container's own program and for those that are run in it later. The thread must be locked, see the container's
// files, and have all capabilities still: root in it keeps those of the bounding set, everybody else loses all when
// becoming another user.
func confine(spec *specs.Spec, p *specs.Process) error {
	if err := dropCapabilities(p); err != nil {
		return err
	}
	if err := limitResources(p); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("giving up new privileges: %w", err)
		}
	}
	if err := restrictFiles(LandlockVersion(), fileRules(spec)); err != nil {
		return err
	}
	return filterCalls(spec.Annotations[bundle.FilterAnnotation])
}

// capabilityNumbers are the names in the kernel's order.
const capabilityNumbers = `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
	SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
	BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`

// dropCapabilities leaves in the bounding set what the container may have: root gets no more by execve, others get nothing.
func dropCapabilities(p *specs.Process) error {
	for n, name := range strings.Fields(capabilityNumbers) {
		if p.Capabilities != nil && slices.Contains(p.Capabilities.Bounding, "CAP_"+name) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("giving up CAP_%s: %w", name, err)
		}
	}
	return nil
}

// mostLocked is how much memory a program may keep from being swapped, as systemd has it.
const mostLocked = 8 << 20

// limitResources sets the limits of the configuration, and others that a daemon may have been started without: no core files, which
// would be written to memory; no priority above others; little locked memory. The container has no capability to raise them.
func limitResources(p *specs.Process) error {
	limits := map[int]unix.Rlimit{unix.RLIMIT_CORE: {}, unix.RLIMIT_RTPRIO: {}, unix.RLIMIT_NICE: {}}
	var locked unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &locked); err != nil {
		return fmt.Errorf("reading the limit of locked memory: %w", err)
	}
	limits[unix.RLIMIT_MEMLOCK] = unix.Rlimit{Cur: min(locked.Cur, mostLocked), Max: min(locked.Max, mostLocked)}
	for _, l := range p.Rlimits {
		if l.Type != "RLIMIT_NOFILE" {
			return fmt.Errorf("the process driver does not know the limit %s", l.Type)
		}
		limits[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: l.Soft, Max: l.Hard}
	}
	for which, l := range limits {
		if err := unix.Prlimit(0, which, &l, nil); err != nil {
			return fmt.Errorf("setting resource limit %d: %w", which, err)
		}
	}
	return nil
}

// filterCalls installs a compiled system call filter, see bundle.Filter. An empty one is none: that is for machines whose calls are not
// known, and for containers that asked for it.
func filterCalls(compiled string) error {
	if compiled == "" {
		return nil
	}
	code, err := base64.StdEncoding.DecodeString(compiled)
	if err != nil || len(code)%8 != 0 {
		return fmt.Errorf("reading the system call filter of %d bytes: %w", len(compiled), err)
	}
	var program []unix.SockFilter
	for ; len(code) > 0; code = code[8:] {
		program = append(program, unix.SockFilter{
			Code: binary.LittleEndian.Uint16(code), Jt: code[2], Jf: code[3], K: binary.LittleEndian.Uint32(code[4:]),
		})
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&f))); errno != 0 {
		return fmt.Errorf("installing the system call filter: %w", errno)
	}
	return nil
}

// assume makes this thread the user of a process. By raw calls, which other threads do not follow: it is about to become the program.
func assume(u specs.User) error {
	groups := append([]uint32{}, u.AdditionalGids...)
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("becoming member of %v: %w", groups, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)); errno != 0 {
		return fmt.Errorf("becoming group %d: %w", u.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)); errno != 0 {
		return fmt.Errorf("becoming user %d: %w", u.UID, errno)
	}
	return nil
}
