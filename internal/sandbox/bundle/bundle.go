// Package bundle writes the OCI runtime configuration of a container: its mounts, user, limits and hardening.
//
// Everything here is data in, data out; nothing is mounted or started.
package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Input is what a container's configuration depends on.
type Input struct {
	Hostname     string
	Args         []string
	Env          []string
	Dir          string // working directory; empty: "/"
	User         User
	RootFS       string // where the root file system will be mounted
	ReadOnlyRoot bool
	Binds        []Bind
	NetNS        string // path of the network namespace
	CgroupPath   string
	NoCgroups    bool   // the runtime is to leave them alone: no limits and nothing to show
	UserNS       string // path of the user namespace; empty: the machine's
	UsersFirst   uint32 // what its user 0 is on the machine
	UsersCount   uint32

	MemoryBytes      int64
	LimitSwap        bool // the machine can limit swap: allow none
	CPUMillis        int64
	CPURequestMillis int64
	Pids             int64
	OpenFiles        uint64 // limit of open files; zero: inherited

	CapAdd, CapDrop          []string
	AllowPrivilegeEscalation bool
	SeccompUnconfined        bool
	CompiledFilter           bool // the runtime takes FilterAnnotation
	Terminal                 bool
	// OwnKernel: the runtime has a kernel of its own. Its control groups could be written to, so files in the bundle say what the limits
	// are, and it would cover an empty /tmp with one that Fairlead neither limits nor sees.
	OwnKernel     bool
	UnifiedLimits bool // those files are named as in version 2 of control groups
}

// Bind is a directory or file of the machine shown in the container.
type Bind struct {
	Source, Destination string
	ReadOnly            bool
	Options             []string // further mount options
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Write writes config.json into the bundle folder.
func Write(dir string, in Input) error {
	spec, err := Spec(in)
	if err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encoding the runtime configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return fmt.Errorf("writing the runtime configuration: %w", err)
	}
	if in.OwnKernel {
		return writeLimits(filepath.Join(dir, limitsDir), in)
	}
	return nil
}

// Spec gives the OCI runtime configuration.
func Spec(in Input) (*specs.Spec, error) {
	process, err := Process(in)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version:  "1.0.2",
		Process:  process,
		Root:     &specs.Root{Path: in.RootFS, Readonly: in.ReadOnlyRoot},
		Hostname: in.Hostname,
		Mounts:   append(standardMounts(in.ReadOnlyRoot), bindMounts(in.Binds)...),
		Linux: &specs.Linux{
			CgroupsPath: in.CgroupPath,
			Resources:   Resources(in),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace, Path: in.NetNS},
			},
			MaskedPaths:   masked(),
			ReadonlyPaths: readonly(),
		},
	}
	if in.NoCgroups {
		spec.Linux.CgroupsPath, spec.Linux.Resources = "", nil
		spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	}
	if in.OwnKernel {
		spec.Mounts = ownKernelMounts(spec.Mounts, in)
	}
	if in.UserNS != "" {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: in.UserNS})
		ids := []specs.LinuxIDMapping{{HostID: in.UsersFirst, Size: in.UsersCount}}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids, ids
	}
	if !in.SeccompUnconfined {
		spec.Linux.Seccomp = Seccomp(process.Capabilities.Bounding)
		if filter := Filter(spec.Linux.Seccomp); in.CompiledFilter && filter != "" {
			spec.Annotations = map[string]string{FilterAnnotation: filter}
		}
	}
	return spec, nil
}

// Process gives the process part of the configuration, which is also what exec into a container needs.
func Process(in Input) (*specs.Process, error) {
	caps, err := capabilities(in.CapAdd, in.CapDrop)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal: in.Terminal,
		User:     specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups},
		Args:     in.Args,
		Env:      environment(in),
		Cwd:      in.Dir,
		// Ambient and inheritable stay empty, so that an ordinary user gets nothing by execve.
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		NoNewPrivileges: !in.AllowPrivilegeEscalation,
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if in.OpenFiles > 0 {
		p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: in.OpenFiles, Soft: in.OpenFiles}}
	}
	return p, nil
}

func environment(in Input) []string {
	env := slices.Clone(in.Env)
	has := func(name string) bool {
		return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	}
	if !has("PATH") {
		env = append(env, defaultPath)
	}
	if !has("HOME") && in.User.Home != "" {
		env = append(env, "HOME="+in.User.Home)
	}
	if !has("HOSTNAME") && in.Hostname != "" {
		env = append(env, "HOSTNAME="+in.Hostname)
	}
	if in.Terminal && !has("TERM") {
		env = append(env, "TERM=xterm")
	}
	return env
}

func standardMounts(readOnlyRoot bool) []specs.Mount {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
	if readOnlyRoot {
		mounts = append(mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
	}
	return mounts
}

// bindMounts orders by depth, so that a mount inside of another comes after it.
func bindMounts(binds []Bind) []specs.Mount {
	binds = slices.Clone(binds)
	slices.SortStableFunc(binds, func(a, b Bind) int {
		return strings.Count(filepath.Clean(a.Destination), "/") - strings.Count(filepath.Clean(b.Destination), "/")
	})
	var out []specs.Mount
	for _, b := range binds {
		options := append([]string{"rbind", "rprivate", "nosuid", "nodev"}, b.Options...)
		if b.ReadOnly {
			options = append(options, "ro")
		}
		out = append(out, specs.Mount{Destination: b.Destination, Type: "bind", Source: b.Source, Options: options})
	}
	return out
}

// Resources gives the limits alone.
func Resources(in Input) *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // the runtime adds the usual few
	}
	if in.MemoryBytes > 0 {
		limit := in.MemoryBytes &^ 4095
		r.Memory = &specs.LinuxMemory{Limit: &limit}
		if in.LimitSwap {
			r.Memory.Swap = &limit
		}
	}
	if in.CPUMillis > 0 || in.CPURequestMillis > 0 {
		r.CPU = &specs.LinuxCPU{}
	}
	if in.CPUMillis > 0 {
		period := uint64(100_000)
		quota := max(in.CPUMillis*int64(period)/1000, 1000)
		r.CPU.Period, r.CPU.Quota = &period, &quota
	}
	if in.CPURequestMillis > 0 {
		shares := uint64(min(max(in.CPURequestMillis*1024/1000, 2), 262144))
		r.CPU.Shares = &shares
	}
	if in.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &in.Pids}
	}
	return r
}

func masked() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// readonly has /sys/fs/cgroup although its mount is read-only: where control groups are of version 1 that is a tmpfs with the controllers
// in it, which crun leaves writable.
func readonly() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys/fs/cgroup"}
}
