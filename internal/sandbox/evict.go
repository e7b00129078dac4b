package sandbox

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// watchVolumes measures the limited volumes on disk until ctx ends and has the instance stopped when one is over its limit. The
// kernel limits those in memory itself.
func (l *life) watchVolumes(ctx context.Context, wg *sync.WaitGroup) {
	var limited []Volume
	for _, v := range l.i.spec.Volumes {
		if v.Empty != nil && !v.Empty.Memory && v.Empty.SizeBytes > 0 {
			limited = append(limited, v)
		}
	}
	if len(limited) == 0 {
		return
	}
	i := l.i
	wg.Go(func() {
		for wait(ctx, i.m.cfg.MeasureEvery) {
			for _, v := range limited {
				used, err := diskUsage(volumeDir(i.dir, v))
				if err != nil {
					i.m.log.Warn("measuring a volume", "instance", i.id, "volume", v.Name, "err", err)
					continue
				}
				if used <= v.Empty.SizeBytes {
					continue
				}
				message := fmt.Sprintf("usage of the volume %s is %d bytes, over its limit of %d", v.Name, used, v.Empty.SizeBytes)
				select {
				case i.mail <- func(l *life) { l.stop(-1, ReasonEvicted, message) }:
				case <-ctx.Done():
				}
				return
			}
		}
	})
}

// diskUsage is what the files of a directory take on disk. Files with several names count once for each.
func diskUsage(dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var sum int64
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // removed while we walk
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum, err
}
