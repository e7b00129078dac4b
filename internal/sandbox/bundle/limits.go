package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limitsDir is where in a bundle the files are that say what the limits are, beside the root file system.
const limitsDir = "limits"

// ownKernelMounts changes the mounts for a runtime with a kernel of its own.
func ownKernelMounts(mounts []specs.Mount, in Input) []specs.Mount {
	hasTmp := false
	mounts = slices.DeleteFunc(mounts, func(m specs.Mount) bool {
		ours := m.Destination == "/tmp" && m.Type == "tmpfs"
		hasTmp = hasTmp || filepath.Clean(m.Destination) == "/tmp" && !ours
		return ours || m.Type == "cgroup"
	})
	var own []specs.Mount
	if !in.NoCgroups {
		own = append(own, specs.Mount{Destination: "/sys/fs/cgroup", Type: "bind", Source: filepath.Join(filepath.Dir(in.RootFS), limitsDir),
			Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"}})
	}
	if !hasTmp { // the helper has made it a directory, whatever the image has there
		own = append(own, specs.Mount{Destination: "/tmp", Type: "bind", Source: filepath.Join(in.RootFS, "tmp"),
			Options: []string{"bind", "nosuid", "nodev"}})
	}
	first := slices.IndexFunc(mounts, func(m specs.Mount) bool { return m.Type == "bind" })
	if first < 0 {
		first = len(mounts)
	}
	return slices.Insert(mounts, first, own...) // volumes below /tmp come later
}

// limitFiles are the files of control groups that programs read to learn their limits, by name.
func limitFiles(in Input) map[string]string {
	number := func(n int64, none string) string {
		if n <= 0 {
			return none
		}
		return strconv.FormatInt(n, 10)
	}
	r := Resources(in)
	var memory, quota, period, shares int64 = 0, 0, 100_000, 1024
	if r.Memory != nil {
		memory = *r.Memory.Limit
	}
	if r.CPU != nil && r.CPU.Quota != nil {
		quota, period = *r.CPU.Quota, int64(*r.CPU.Period)
	}
	if r.CPU != nil && r.CPU.Shares != nil {
		shares = int64(*r.CPU.Shares)
	}
	if in.UnifiedLimits {
		return map[string]string{
			"cgroup.controllers": "cpu memory pids",
			"memory.max":         number(memory, "max"),
			"cpu.max":            number(quota, "max") + " " + number(period, ""),
			"cpu.weight":         number(1+(shares-2)*9999/262142, "100"),
			"pids.max":           number(in.Pids, "max"),
		}
	}
	return map[string]string{
		"memory/memory.limit_in_bytes": number(memory, "9223372036854771712"),
		"cpu/cpu.cfs_quota_us":         number(quota, "-1"),
		"cpu/cpu.cfs_period_us":        number(period, ""),
		"cpu/cpu.shares":               number(shares, ""),
		"pids/pids.max":                number(in.Pids, "max"),
	}
}

func writeLimits(dir string, in Input) error {
	for name, text := range limitFiles(in) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("writing down the limits: %w", err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o444); err != nil {
			return fmt.Errorf("writing down the limits: %w", err)
		}
	}
	return nil
}
