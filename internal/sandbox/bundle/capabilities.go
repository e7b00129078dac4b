package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// usualCapabilities is what containers have by default in the field.
func usualCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// Usual says whether a capability, named without CAP_, is one that every container has.
func Usual(name string) bool { return slices.Contains(usualCapabilities(), "CAP_"+name) }

// allCapabilities are those of Linux 6.
func allCapabilities() []string {
	return append(usualCapabilities(),
		"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH",
		"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN",
		"CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT",
		"CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM")
}

// capabilities applies drops, then adds, to the usual set. Names come with or without CAP_, in any case; "ALL" is all.
func capabilities(add, drop []string) ([]string, error) {
	set := usualCapabilities()
	for _, name := range drop {
		names, err := capabilityNames(name)
		if err != nil {
			return nil, err
		}
		set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(names, c) })
	}
	for _, name := range add {
		names, err := capabilityNames(name)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if !slices.Contains(set, n) {
				set = append(set, n)
			}
		}
	}
	slices.Sort(set)
	return set, nil
}

func capabilityNames(name string) ([]string, error) {
	name = strings.ToUpper(name)
	if name == "ALL" {
		return allCapabilities(), nil
	}
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	if !slices.Contains(allCapabilities(), name) {
		return nil, fmt.Errorf("unknown capability %q", name)
	}
	return []string{name}, nil
}
