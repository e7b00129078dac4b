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
			return withTry(fmt.Errorf("%s is neither a file, a folder nor a symbolic link", file), "without it: remove it, or copy what is beside it")
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

// place is where an archive is unpacked: its root becomes name in folder, or with an empty name is folder itself.
type place struct {
	folder, name string
	asked        string // what the person wrote
	onlyFolder   bool   // it was written with a slash at its end
}

// placeOf finds the place for a source called base: inside of a destination that is a folder, else under that name.
func placeOf(destination, base string) (place, error) {
	p := place{folder: destination, name: base, asked: destination}
	if info, err := os.Stat(destination); err != nil || !info.IsDir() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
		clean := filepath.Clean(destination)
		p.folder, p.name = filepath.Dir(clean), filepath.Base(clean)
		p.onlyFolder = strings.HasSuffix(destination, "/")
	}
	if p.name == "." || p.name == "/" {
		p.name = ""
	}
	return p, nil
}

// under gives the path of an entry of an archive whose root is base, relative to the folder of the place.
func (p place) under(base, entry string) string {
	relative := path.Clean(entry)
	if base != "." {
		relative = strings.TrimPrefix(strings.TrimPrefix(relative, base), "/")
	}
	return path.Join(".", p.name, relative)
}

// namedLink says that the root of an archive is a symbolic link.
type namedLink struct{ name, target string }

func (l namedLink) Error() string {
	return fmt.Sprintf("%s is a symbolic link to %s, and that to others", l.name, l.target)
}

// Try is what to do about links that lead nowhere.
func (l namedLink) Try() string { return "the file that is meant, by its own name" }

// within says whether an entry belongs to what was asked for.
func within(base, entry string) bool {
	entry = path.Clean(entry)
	if base == "." {
		return filepath.IsLocal(entry)
	}
	return entry == base || strings.HasPrefix(entry, base+"/")
}

// unpackTo writes an archive whose single root is base to a place. Nothing is written outside, whatever the archive says: it comes
// from code that nobody vouches for. Symbolic links that lead out of what was copied are not made; leftOut hears of them. Where
// the root itself is a symbolic link, nothing is written and the error is a namedLink.
func unpackTo(archive io.Reader, base string, to place, leftOut func(string)) error {
	root, err := os.OpenRoot(to.folder)
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
		if !within(base, header.Name) || header.Typeflag == tar.TypeLink && !within(base, header.Linkname) {
			return fmt.Errorf("tar sent %q, which was not asked for", header.Name)
		}
		relative := to.under(base, header.Name)
		atRoot := relative == to.under(base, base)
		switch {
		case header.Typeflag == tar.TypeSymlink && atRoot:
			return namedLink{header.Name, header.Linkname}
		case header.Typeflag == tar.TypeSymlink && leadsOut(header.Linkname):
			leftOut(fmt.Sprintf("symbolic link %s to %s", header.Name, header.Linkname))
			continue
		case atRoot && to.onlyFolder && header.Typeflag != tar.TypeDir:
			return withTry(fmt.Errorf("%s is no folder", to.asked), "leave out the last /, or make it: mkdir %s", to.asked)
		case header.Typeflag == tar.TypeLink:
			err = unpackLink(root, to.under(base, header.Linkname), relative)
		default:
			err = unpackEntry(root, relative, header, reader)
		}
		if err != nil {
			return err
		}
	}
}

// unpackLink makes one more name of a file that was unpacked before.
func unpackLink(root *os.Root, file, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Link(file, name)
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
		err := root.MkdirAll(name, mode|0o700)
		if errors.Is(err, fs.ErrExist) {
			return withTry(fmt.Errorf("%s is a file, which a folder does not replace", name), "another destination")
		}
		return err
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
	return withTry(fmt.Errorf("%s is neither a file, a folder nor a symbolic link", header.Name), "without it: what is beside it, or its content by fairlead exec")
}
