package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnKernel(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Input)
		want   string // the mounts that matter, in order
		file   string
		text   string
	}{
		"version 1": {func(*Input) {}, "/sys/fs/cgroup /tmp /tmp/below", "memory/memory.limit_in_bytes", "134217728"},
		"version 2": {func(in *Input) { in.UnifiedLimits = true }, "/sys/fs/cgroup /tmp /tmp/below", "cpu.max", "50000 100000"},
		"shares":    {func(in *Input) { in.CPURequestMillis = 125 }, "/sys/fs/cgroup /tmp /tmp/below", "cpu/cpu.shares", "128"},
		"no limit": {func(in *Input) { in.MemoryBytes, in.CPUMillis = 0, 0 }, "/sys/fs/cgroup /tmp /tmp/below",
			"cpu/cpu.cfs_quota_us", "-1"},
		"read-only":         {func(in *Input) { in.ReadOnlyRoot = true }, "/sys/fs/cgroup /tmp /tmp/below", "", ""},
		"own /tmp":          {func(in *Input) { in.Binds[0].Destination = "/tmp" }, "/sys/fs/cgroup /tmp", "", ""},
		"no control groups": {func(in *Input) { in.NoCgroups = true }, "/tmp /tmp/below", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := Input{OwnKernel: true, Args: []string{"/x"}, RootFS: filepath.Join(dir, "rootfs"), MemoryBytes: 128 << 20, CPUMillis: 500,
				Binds: []Bind{{Source: "/s", Destination: "/tmp/below"}}}
			c.change(&in)
			spec, err := Spec(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range spec.Mounts {
				if m.Type == "cgroup" || m.Destination == "/tmp" && m.Type == "tmpfs" {
					t.Errorf("mount %+v is left", m)
				}
				if m.Destination == "/sys/fs/cgroup" || strings.HasPrefix(m.Destination, "/tmp") {
					got = append(got, m.Destination)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("mounts %q, want %s", got, c.want)
			}
			if err := Write(dir, in); err != nil {
				t.Fatal(err)
			}
			if c.file == "" {
				return
			}
			data, err := os.ReadFile(filepath.Join(dir, limitsDir, c.file))
			if err != nil || strings.TrimSpace(string(data)) != c.text {
				t.Errorf("%s says %q, %v; want %s", c.file, data, err, c.text)
			}
		})
	}
}
