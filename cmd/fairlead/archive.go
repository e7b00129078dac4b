package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func statReadable(source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	return f.Close()
}

// pack writes a file or folder into an archive under the name given. Sockets, devices and the like are left out with an
// error, since they would not be the same elsewhere.
func pack(archive *tar.Writer, source, name string) error {
	return filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(file); err != nil {
				return err
			}
		case !info.IsDir() && !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file, a folder nor a symbolic link", file)
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		// Owners of this machine mean nothing there: what is copied belongs to who runs tar.
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		header.Name = path.Join(name, filepath.ToSlash(relative))
		if info.IsDir() {
			header.Name += "/"
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		return packFile(archive, file)
	})
}

func packFile(archive io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(archive, f)
	return err
}

// unpack writes an archive whose single root is base to destination: inside of it if it is a folder, else under that
// name. Nothing is written outside, whatever the archive says: it comes from code that nobody vouches for. Symbolic
// links that lead out of what was copied are not made; leftOut hears of them.
func unpack(archive io.Reader, base, destination string, leftOut func(string)) error {
	folder, name := destination, base
	if info, err := os.Stat(destination); err != nil || !info.IsDir() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		folder, name = filepath.Dir(destination), filepath.Base(destination)
	}
	if name == "." || name == "/" {
		name = ""
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only a handle of the folder
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what tar sent: %w", err)
		}
		entry := path.Clean(header.Name)
		if entry != base && !strings.HasPrefix(entry, base+"/") && base != "." && base != "/" && base != "" {
			return fmt.Errorf("tar sent %q, which was not asked for", header.Name)
		}
		relative := path.Join(name, strings.TrimPrefix(strings.TrimPrefix(entry, base), "/"))
		if relative == "" {
			relative = "."
		}
		if header.Typeflag == tar.TypeSymlink && (relative == name || leadsOut(header.Linkname)) {
			leftOut(fmt.Sprintf("symbolic link %s to %s", header.Name, header.Linkname))
			continue
		}
		if err := unpackEntry(root, relative, header, reader); err != nil {
			return err
		}
	}
}

// leadsOut tells whether a symbolic link may lead out of what was copied. Only links to something beside or below are
// safe without asking where other links lead.
func leadsOut(link string) bool {
	return path.IsAbs(link) || slices.Contains(strings.Split(link, "/"), "..")
}

func unpackEntry(root *os.Root, name string, header *tar.Header, content io.Reader) error {
	mode := header.FileInfo().Mode().Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		if name == "." {
			return nil
		}
		return root.MkdirAll(name, mode|0o700)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	case tar.TypeSymlink:
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(header.Linkname, name)
	}
	return fmt.Errorf("%s is neither a file, a folder nor a symbolic link", header.Name)
}
