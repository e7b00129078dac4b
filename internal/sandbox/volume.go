package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

func (i *Instance) now() time.Time { return time.Now() }

// prepareFiles makes the folder of an instance with everything but mounts, and gives what is to be mounted as memory.
func (m *Manager) prepareFiles(dir string, spec Spec) ([]helper.MemoryDir, error) {
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o711); err != nil {
		return nil, fmt.Errorf("making the folder of the instance: %w", err)
	}
	if err := writeEtc(filepath.Join(dir, "etc"), spec); err != nil {
		return nil, err
	}
	var memory []helper.MemoryDir
	for _, v := range spec.Volumes {
		path := volumeDir(dir, v)
		switch {
		case v.Files != nil:
			if err := os.MkdirAll(path, 0o755); err != nil {
				return nil, err
			}
			if err := writeFiles(path, v.Files.Files, spec.FSGroup); err != nil {
				return nil, fmt.Errorf("volume %s: %w", v.Name, err)
			}
		case v.Empty != nil:
			if err := makeEmpty(path, spec.FSGroup); err != nil {
				return nil, fmt.Errorf("volume %s: %w", v.Name, err)
			}
			if v.Empty.Memory {
				memory = append(memory, memoryDir(path, v.Empty.SizeBytes, spec.FSGroup))
			}
		}
	}
	return memory, nil
}

func memoryDir(path string, size int64, group *int64) helper.MemoryDir {
	m := helper.MemoryDir{Path: path, SizeBytes: size, Mode: 0o777}
	if group != nil {
		m.GID, m.Mode = *group, 0o2777
	}
	return m
}

// makeEmpty makes a directory that every user of the instance may write to, as emptyDir is.
func makeEmpty(path string, group *int64) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	mode := fs.FileMode(0o777)
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return os.Chmod(path, mode)
}

func volumeDir(dir string, v Volume) string {
	if v.HostPath != "" {
		return v.HostPath
	}
	return filepath.Join(dir, "volumes", v.Name)
}

func (s Spec) volume(name string) Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return Volume{}
}

// mountSource is the path of a volume, or of a place in it, in the view of the instance. Symbolic links in subPath are refused, because an instance could
// have made them, except those of a FilesVolume, which are Fairlead's own.
func (i *Instance) mountSource(v Volume, subPath string) (string, error) {
	base := volumeDir(i.dir, v)
	if subPath == "" || subPath == "." {
		return i.volumeView(v), nil
	}
	if v.Files != nil {
		path, err := filepath.EvalSymlinks(filepath.Join(base, dataLink, subPath))
		if err != nil {
			return "", err
		}
		rel, err := filepath.Rel(base, path)
		return filepath.Join(i.volumeView(v), rel), err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return "", err
	}
	defer root.Close()
	walked := ""
	for _, part := range strings.Split(filepath.Clean(subPath), "/") {
		walked = filepath.Join(walked, part)
		info, err := root.Lstat(walked)
		if errors.Is(err, fs.ErrNotExist) {
			if err = root.Mkdir(walked, 0o777); err == nil {
				err = root.Chmod(walked, 0o777)
			}
		} else if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("subPath %s is a symbolic link, which is not followed", walked)
		}
		if err != nil {
			return "", err
		}
	}
	return filepath.Join(i.volumeView(v), walked), nil
}

// dataLink is the symbolic link that is turned to a new set of files in one step.
const dataLink = "..data"

// writeFiles makes the directory show exactly these files. As in Kubernetes, the set is in a hidden directory that the link ..data
// names, and every first part of a path is a link through it.
func writeFiles(dir string, files map[string]File, group *int64) error {
	set, err := os.MkdirTemp(dir, "..set-")
	if err != nil {
		return err
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fill(set, files, group); err != nil {
		return errors.Join(err, os.RemoveAll(set))
	}
	next := filepath.Join(dir, "..data-next")
	if err := errors.Join(os.RemoveAll(next), os.Symlink(filepath.Base(set), next)); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := relink(dir, files); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

func fill(set string, files map[string]File, group *int64) error {
	if err := os.Chmod(set, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(set, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(f.Mode).Perm()
		if f.Mode == 0 {
			mode = 0o644
		}
		if group != nil {
			mode |= 0o040 | (mode & 0o100 >> 3)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return err
		}
		if group != nil {
			if err := os.Chown(path, -1, int(*group)); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	return nil
}

// relink makes the visible links those of files.
func relink(dir string, files map[string]File) error {
	var want []string
	for name := range files {
		first, _, _ := strings.Cut(filepath.Clean(name), "/")
		if !slices.Contains(want, first) {
			want = append(want, first)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if at := slices.Index(want, e.Name()); at >= 0 {
			want = slices.Delete(want, at, at+1)
		} else if !strings.HasPrefix(e.Name(), "..") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// SetFiles replaces the files of a FilesVolume. Readers see all of the old set or all of the new one, except through a mount with
// a subPath, which keeps what it had. ErrNotFound if the instance has no such volume.
func (i *Instance) SetFiles(ctx context.Context, volume string, files map[string]File) error {
	v := i.spec.volume(volume)
	if v.Files == nil {
		return fmt.Errorf("instance %s: volume of files %q: %w", i.id, volume, ErrNotFound)
	}
	if err := checkFiles(files); err != nil {
		return fmt.Errorf("instance %s: volume %s: %w: %w", i.id, volume, ErrSpec, err)
	}
	return i.ask(ctx, func(l *life) error {
		if err := writeFiles(volumeDir(i.dir, v), files, i.spec.FSGroup); err != nil {
			return fmt.Errorf("instance %s: replacing the files of volume %s: %w", i.id, volume, err)
		}
		return nil
	})
}

// writeEtc writes the files of /etc that depend on the instance.
func writeEtc(dir string, spec Spec) error {
	resolv := "nameserver " + netns.Gateway().String() + "\n"
	if len(spec.Search) > 0 {
		resolv += "search " + strings.Join(spec.Search, " ") + "\noptions ndots:5\n"
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + netns.Self().String() + "\t" + spec.Hostname + "\n"
	for _, h := range spec.Hosts {
		hosts += h.Addr.String() + "\t" + strings.Join(h.Names, " ") + "\n"
	}
	for name, data := range map[string]string{"resolv.conf": resolv, "hosts": hosts, "hostname": spec.Hostname + "\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	return nil
}
