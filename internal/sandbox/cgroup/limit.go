package cgroup

import (
	"fmt"
	"os"
	"strconv"
)

// Limits of a group. Zero values mean none.
type Limits struct {
	MemoryBytes         int64
	CPUQuota, CPUPeriod int64 // microseconds of processor time in each period
	CPUShares           int64 // version 1 scale: 1024 is one processor's share
	Pids                int64
}

// Limit sets the limits of a group, for drivers that have no runtime to do it.
func (t *Tree) Limit(path string, l Limits) error {
	set := func(controller, name, value string) error {
		if err := os.WriteFile(t.file(controller, path, name), []byte(value), 0); err != nil {
			return fmt.Errorf("setting %s of the control group %s: %w", name, path, err)
		}
		return nil
	}
	text := func(n int64) string { return strconv.FormatInt(n, 10) }
	type setting struct {
		wanted                   bool
		controller, name1, name2 string
		value1, value2           string
	}
	weight := 1 + (max(l.CPUShares, 2)-2)*9999/262142
	for _, s := range []setting{
		{l.MemoryBytes > 0, "memory", "memory.limit_in_bytes", "memory.max", text(l.MemoryBytes), text(l.MemoryBytes)},
		{l.CPUQuota > 0, "cpu", "cpu.cfs_period_us", "", text(l.CPUPeriod), ""},
		{l.CPUQuota > 0, "cpu", "cpu.cfs_quota_us", "cpu.max", text(l.CPUQuota), text(l.CPUQuota) + " " + text(l.CPUPeriod)},
		{l.CPUShares > 0, "cpu", "cpu.shares", "cpu.weight", text(l.CPUShares), text(weight)},
		{l.Pids > 0, "pids", "pids.max", "pids.max", text(l.Pids), text(l.Pids)},
	} {
		name, value := s.name1, s.value1
		if t.mode == V2 {
			name, value = s.name2, s.value2
		}
		if !s.wanted || name == "" {
			continue
		}
		if err := set(s.controller, name, value); err != nil {
			return err
		}
	}
	if _, err := os.Stat(t.file("", path, "memory.swap.max")); err == nil && t.mode == V2 && l.MemoryBytes > 0 {
		return set("", "memory.swap.max", "0")
	}
	return nil
}
