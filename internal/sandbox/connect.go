package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// connect gives a connection to the helper of the folder, which is started if there is none.
func (m *Manager) connect(ctx context.Context) (*helper.Client, error) {
	conn, err := helper.Connect(m.cfg.Dir)
	if err == nil {
		return conn, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
		return nil, err
	}
	if err := m.startHelper(ctx); err != nil {
		return nil, err
	}
	return helper.Connect(m.cfg.Dir)
}

func (m *Manager) startHelper(ctx context.Context) error {
	if err := m.clear(); err != nil {
		return err
	}
	ended, err := helper.Start(ctx, m.cfg.Executable, HelperArg, helper.Options{
		Dir: m.cfg.Dir, CgroupParent: m.cfg.CgroupParent, CgroupBase: m.tree.Base(), OrphanAfter: m.cfg.OrphanAfter, LogBytes: m.cfg.LogBytes,
	})
	m.ended = ended
	return err
}

// clear takes away what a helper that is gone has left: processes, control groups, files.
func (m *Manager) clear() error {
	if m.tree.Mode() != cgroup.None {
		if err := m.tree.Kill(m.cfg.CgroupParent, 10*time.Second); err != nil {
			return err
		}
		if err := m.tree.Remove(m.cfg.CgroupParent, 10*time.Second); err != nil {
			return err
		}
		if err := m.tree.Prune(filepath.Dir(m.cfg.CgroupParent)); err != nil {
			return err
		}
	}
	if err := os.Remove(helper.ViewDir(m.cfg.CgroupParent)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing what the sandbox helper left: %w", err)
	}
	err := m.removeUnknown(nil)
	if err == nil {
		err = removeContents(filepath.Join(m.cfg.Dir, "runtime"))
	}
	if err != nil {
		return fmt.Errorf("clearing the sandbox folder: %w", err)
	}
	return nil
}

func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over the instances that the helper holds, and clears what cannot be taken over.
func (m *Manager) adopt(ctx context.Context, conn *helper.Client) error {
	version, base, err := conn.Hello(ctx)
	if err != nil {
		return err
	}
	if !maps.Equal(base, m.tree.Base()) { // the instances are where an earlier daemon was started
		if err := m.tree.Prune(m.cfg.CgroupParent); err != nil {
			return err
		}
		if m.tree, err = cgroup.OpenAt(base); err != nil {
			return err
		}
	}
	listed, err := conn.List(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, l := range listed {
		if version == helper.Version {
			err = m.adoptOne(ctx, conn, l)
		} else {
			err = fmt.Errorf("the helper speaks version %d of the protocol, not %d", version, helper.Version)
		}
		if err == nil {
			known[l.Instance] = true
			continue
		}
		m.log.Warn("an instance could not be adopted and is removed", "instance", l.Instance, "err", err)
		if err := conn.Close(ctx, l.Instance); err != nil {
			return err
		}
	}
	return m.removeUnknown(known)
}

// removeUnknown removes the folders of instances that the helper does not hold; their logs are kept.
func (m *Manager) removeUnknown(known map[string]bool) error {
	dir := filepath.Join(m.cfg.Dir, "instances")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !known[e.Name()] {
			if err := m.past.forgotten(filepath.Join(dir, e.Name())); err != nil {
				m.log.Warn("keeping the log of an instance that is gone", "instance", e.Name(), "err", err)
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) adoptOne(ctx context.Context, conn *helper.Client, l helper.Listed) error {
	dir := filepath.Join(m.cfg.Dir, "instances", l.Instance)
	var rec record
	data, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	files, err := conn.Adopt(ctx, l.Instance)
	if err != nil {
		return err
	}
	i, life, err := m.newInstance(conn, rec.Spec, view{dir: rec.View, users: rec.State.Users}, files)
	if err != nil {
		return err
	}
	if err := life.restore(rec, l); err != nil {
		i.sockets.Close()
		return err
	}
	m.run(i, life)
	return nil
}
