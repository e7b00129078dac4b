package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// UnpackLimits bounds one layer, against archives made to fill a disk. Zero fields have the default given.
type UnpackLimits struct {
	// Bytes of file content: 32 GiB.
	Bytes int64
	// Entries: 1,000,000.
	Entries int
	// Ratio of unpacked to packed bytes, past the first 256 MiB: 300.
	Ratio int64
}

const ratioFreeBytes = 256 << 20

func (l UnpackLimits) withDefaults() UnpackLimits {
	if l.Bytes == 0 {
		l.Bytes = 32 << 30
	}
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Ratio == 0 {
		l.Ratio = 300
	}
	return l
}

// RefusedError says why a layer was not unpacked: the archive asks for something no image may.
type RefusedError struct {
	Entry  string // the name in the archive; empty when the archive as a whole is refused
	Reason string
}

func (e *RefusedError) Error() string {
	if e.Entry == "" {
		return "archive refused: " + e.Reason
	}
	return fmt.Sprintf("archive refused: entry %q: %s", e.Entry, e.Reason)
}

type unpackStats struct {
	bytes   int64
	entries int
}

// unpackBlob unpacks a layer blob (gzip, zstd or plain) into dir, which is empty, and checks its diff ID.
func unpackBlob(ctx context.Context, dir string, blob *os.File, id digest.Digest, limits UnpackLimits, log *slog.Logger) (unpackStats, error) {
	info, err := blob.Stat()
	if err != nil {
		return unpackStats{}, err
	}
	limits = limits.withDefaults()
	archive, err := openArchive(ctx, blob, id, limits.packedLimit(info.Size()))
	if err != nil {
		return unpackStats{}, err
	}
	defer archive.Close()
	stats, err := unpackTar(ctx, dir, archive, limits, log)
	if err != nil {
		return stats, err
	}
	return stats, archive.finish()
}

// packedLimit is the most an archive of so many packed bytes may unpack to.
func (l UnpackLimits) packedLimit(packed int64) int64 {
	return min(l.Bytes, max(ratioFreeBytes, packed*l.Ratio)) + int64(l.Entries)*1024 // headers count too
}

// unpacker writes the entries of one archive below one directory, which nothing it does can leave: every directory is
// opened through os.Root, and names in it are touched only with calls that do not follow links.
type unpacker struct {
	root       *os.Root
	limits     UnpackLimits
	log        *slog.Logger
	privileged bool
	stats      unpackStats

	parent     *os.File // the directory of the last entry
	parentPath string
	times      []dirTimes // applied last: writing into a directory changes them
	buf        []byte
}

type dirTimes struct {
	path string
	at   time.Time
}

func unpackTar(ctx context.Context, dir string, r io.Reader, limits UnpackLimits, log *slog.Logger) (unpackStats, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unpackStats{}, err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits.withDefaults(), log: log, privileged: os.Geteuid() == 0, buf: make([]byte, 256<<10)}
	defer u.leaveParent()
	archive := tar.NewReader(r)
	for {
		if err := context.Cause(ctx); err != nil {
			return u.stats, err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.stats, fmt.Errorf("read layer archive: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return u.stats, err
		}
	}
	return u.stats, u.applyTimes()
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.stats.entries++; u.stats.entries > u.limits.Entries {
		return &RefusedError{Reason: fmt.Sprintf("more than %d entries", u.limits.Entries)}
	}
	name, err := entryPath(h.Name)
	if err != nil {
		return err
	}
	if err := u.check(h); err != nil {
		return err
	}
	if name == "." {
		return u.rootEntry(h)
	}
	dir, base := path.Split(name)
	if base, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return u.whiteout(h.Name, path.Clean(dir), base)
	}
	if (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) && path.Clean(dir) == "dev" {
		u.log.Debug("device file left out: the runtime makes its own /dev", "entry", h.Name)
		return nil
	}
	if err := u.enterParent(h.Name, path.Clean(dir)); err != nil {
		return err
	}
	if err := u.write(h, name, base, content); err != nil {
		var refused *RefusedError
		if errors.As(err, &refused) {
			return err
		}
		return fmt.Errorf("unpack %q: %w", h.Name, err)
	}
	return nil
}

const pathLimit = 4096

// entryPath gives the clean path of an entry, relative to the root; "." is the root itself.
func entryPath(name string) (string, error) {
	switch {
	case len(name) > pathLimit:
		return "", &RefusedError{Entry: name[:64] + "...", Reason: fmt.Sprintf("its name is longer than %d bytes", pathLimit)}
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", &RefusedError{Entry: name, Reason: `its name has a ".." in it`}
	case strings.ContainsRune(name, 0):
		return "", &RefusedError{Entry: name, Reason: "its name has a zero byte in it"}
	}
	return path.Clean(strings.TrimLeft(path.Clean("/"+name), "/")), nil
}

// check refuses what no entry may have, whatever its type.
func (u *unpacker) check(h *tar.Header) error {
	const idLimit = 1<<32 - 2 // the last one means "unchanged" to the kernel
	switch {
	case h.Uid < 0 || int64(h.Uid) > idLimit || h.Gid < 0 || int64(h.Gid) > idLimit:
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("owner %d:%d is not a user and group", h.Uid, h.Gid)}
	case h.Size < 0:
		return &RefusedError{Entry: h.Name, Reason: "its size is negative"}
	case h.Typeflag == tar.TypeReg && h.Size > u.limits.Bytes-u.stats.bytes:
		return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("the layer would unpack to more than %d bytes", u.limits.Bytes)}
	}
	for key := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, xattrPrefix); ok && strings.HasPrefix(attr, "trusted.") {
			return &RefusedError{Entry: h.Name, Reason: fmt.Sprintf("it sets the attribute %q, which is the kernel's own", attr)}
		}
	}
	return nil
}

// resolve follows the symbolic links in a directory path as a process inside the root would, and gives a path without
// any. What does not exist is taken as it is.
func (u *unpacker) resolve(name, dir string) (string, error) {
	rest := strings.Split(dir, "/")
	done := "."
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		info, err := u.root.Lstat(next)
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			done = next
			continue
		}
		if hops++; hops > 40 {
			return "", &RefusedError{Entry: name, Reason: "too many symbolic links on its path"}
		}
		target, err := u.root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}
