package sandbox

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// CopyFrom writes the file or folder at a path of a running container to w as a tar archive, whose names begin with the last
// part of the path. Symbolic links are copied as links. ErrNotFound if there is no such container; fs.ErrNotExist if there is no
// such file; ErrPhase if the container does not run.
func (i *Instance) CopyFrom(ctx context.Context, container, from string, w io.Writer) error {
	root, err := i.containerRoot(ctx, container)
	if err != nil {
		return err
	}
	defer root.Close()
	start := inRoot(from)
	out := tar.NewWriter(w)
	err = fs.WalkDir(root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(filepath.Dir(start), name)
		if err != nil {
			return err
		}
		return i.copyOut(root, out, name, rel)
	})
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("instance %s: copying %s: %w", i.id, from, err)
	}
	return nil
}

func inRoot(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

// containerRoot opens what a container sees as its root, with its volumes. Nothing reached through it is outside.
func (i *Instance) containerRoot(ctx context.Context, container string) (*os.Root, error) {
	var root *os.Root
	err := i.ask(ctx, func(l *life) error {
		if container == "" {
			container = i.spec.Containers[0].Name
		}
		c := l.find(container)
		if c == nil {
			return fmt.Errorf("instance %s: container %q: %w", i.id, container, ErrNotFound)
		}
		if c.phase != ContainerRunning {
			return fmt.Errorf("instance %s: container %s is %s: %w", i.id, container, c.phase, ErrPhase)
		}
		var err error
		root, err = os.OpenRoot(cmp.Or(c.made.Root, filepath.Join("/proc", strconv.Itoa(c.made.Pid), "root")))
		return err
	})
	return root, err
}

func (i *Instance) copyOut(root *os.Root, out *tar.Writer, name, as string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
		return nil // sockets, pipes and devices stay
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = root.Readlink(name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Uname, header.Gname = as, "", "" // the machine's names are not the instance's
	header.Uid, header.Gid = i.view.users.inside(header.Uid), i.view.users.inside(header.Gid)
	if info.IsDir() {
		header.Name += "/"
	}
	if err := out.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(out, f, header.Size)
	return err
}

// CopyTo unpacks a tar archive into a folder of a running container, which is made if missing. Owners in the archive are kept;
// names and links that lead out of the container are refused. Errors are those of CopyFrom.
func (i *Instance) CopyTo(ctx context.Context, container, to string, r io.Reader) error {
	root, err := i.containerRoot(ctx, container)
	if err != nil {
		return err
	}
	defer root.Close()
	err = i.copyDirs(root, inRoot(to))
	for in := tar.NewReader(r); err == nil; {
		var h *tar.Header
		if h, err = in.Next(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = i.copyIn(root, path.Join(inRoot(to), inRoot(h.Name)), h, in)
		}
	}
	return fmt.Errorf("instance %s: copying to %s: %w", i.id, to, err)
}

// copyDirs makes a folder and those above it, which belong to the instance's root.
func (i *Instance) copyDirs(root *os.Root, name string) error {
	if _, err := root.Stat(name); err == nil || name == "." {
		return nil
	}
	if err := i.copyDirs(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return root.Lchown(name, int(i.view.users.First), int(i.view.users.First))
}

func (i *Instance) copyIn(root *os.Root, name string, h *tar.Header, data io.Reader) error {
	uid, err := i.view.users.outside(h.Uid)
	if err != nil {
		return err
	}
	gid, err := i.view.users.outside(h.Gid)
	if err != nil {
		return err
	}
	mode := h.FileInfo().Mode()
	if err := i.copyDirs(root, path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := i.copyDirs(root, name); err != nil {
			return err
		}
	case tar.TypeReg:
		if err := writeIn(root, name, data); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, uid, gid)
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a symbolic link", h.Name)
	}
	if err := root.Chown(name, uid, gid); err != nil {
		return err
	}
	return root.Chmod(name, mode)
}

func writeIn(root *os.Root, name string, data io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Close())
}
