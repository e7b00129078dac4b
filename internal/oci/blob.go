package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// blobStore is the content under blobs/: written once, read by many.
type blobStore struct {
	layout *layout
	// totalBytes is what all blobs take; kept as they come and go.
	totalBytes atomic.Int64
	// verified remembers which file was found to match its digest, until it changes.
	verified sync.Map // digest.Digest -> fileStamp
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	inode       uint64
	size, mtime int64
}

func stampOf(info fs.FileInfo) fileStamp {
	s := fileStamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s
}

func notFound(d digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return fmt.Errorf("blob %s: %w", d, err)
}

// measure adds up what is on disk.
func (b *blobStore) measure() error {
	var total int64
	err := filepath.WalkDir(filepath.Join(b.layout.dir, blobsFolder), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	b.totalBytes.Store(total)
	return nil
}

func (b *blobStore) size(d digest.Digest) (int64, error) {
	if err := d.Validate(); err != nil {
		return 0, fmt.Errorf("digest %q: %w", d, err)
	}
	info, err := os.Stat(b.layout.blobPath(d))
	if err != nil {
		return 0, notFound(d, err)
	}
	return info.Size(), nil
}

// open gives a blob whose content has been checked. The check reads the whole file the first time only.
func (b *blobStore) open(d digest.Digest) (*os.File, int64, error) {
	if err := d.Validate(); err != nil {
		return nil, 0, fmt.Errorf("digest %q: %w", d, err)
	}
	f, err := os.Open(b.layout.blobPath(d))
	if err != nil {
		return nil, 0, notFound(d, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, notFound(d, err)
	}
	if known, ok := b.verified.Load(d); ok && known == stampOf(info) {
		return f, info.Size(), nil
	}
	v := d.Verifier()
	if _, err := io.Copy(v, f); err != nil {
		f.Close()
		return nil, 0, notFound(d, err)
	}
	if !v.Verified() {
		f.Close()
		return nil, 0, b.setAside(d, info.Size())
	}
	b.verified.Store(d, stampOf(info))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, 0, notFound(d, err)
	}
	return f, info.Size(), nil
}

// setAside moves a damaged blob out of the way, so that the next upload or pull brings a good one.
func (b *blobStore) setAside(d digest.Digest, size int64) error {
	dir := filepath.Join(b.layout.dir, damagedFolder)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Rename(b.layout.blobPath(d), filepath.Join(dir, d.Algorithm().String()+"-"+d.Encoded()))
	}
	if err == nil {
		b.totalBytes.Add(-size)
	}
	return errors.Join(fmt.Errorf("blob %s: %w", d, ErrDamaged), err)
}

func (b *blobStore) read(d digest.Digest, limitBytes int64) ([]byte, error) {
	f, size, err := b.open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limitBytes {
		return nil, fmt.Errorf("blob %s has %d bytes, more than the %d that may be read at once", d, size, limitBytes)
	}
	data := make([]byte, size)
	_, err = io.ReadFull(f, data)
	return data, err
}

// put writes a small blob held in memory.
func (b *blobStore) put(d digest.Digest, data []byte) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if b.refresh(d) {
		return nil
	}
	if err := b.layout.writeFile(filepath.Join(blobsFolder, string(d.Algorithm()), d.Encoded()), data); err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	b.totalBytes.Add(int64(len(data)))
	return nil
}

// refresh marks a blob that is already here as just arrived, for the grace period.
func (b *blobStore) refresh(d digest.Digest) bool {
	path := b.layout.blobPath(d)
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	known, ok := b.verified.Load(d)
	now := time.Now()
	if os.Chtimes(path, now, now) != nil {
		return false
	}
	if ok && known == stampOf(info) {
		if info, err = os.Stat(path); err == nil {
			b.verified.Store(d, stampOf(info))
		}
	}
	return true
}

// adopt moves a finished, synced file into place as blob d.
func (b *blobStore) adopt(path string, d digest.Digest, size int64) error {
	if b.refresh(d) {
		return os.Remove(path)
	}
	target := b.layout.blobPath(d)
	if err := os.Rename(path, target); err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	b.totalBytes.Add(size)
	if info, err := os.Stat(target); err == nil {
		b.verified.Store(d, stampOf(info))
	}
	return syncFolder(filepath.Dir(target))
}

// remove deletes a blob. The store's lock is held.
func (b *blobStore) remove(d digest.Digest) (freedBytes int64, err error) {
	size, err := b.size(d)
	if err != nil {
		return 0, err
	}
	if err := os.Remove(b.layout.blobPath(d)); err != nil {
		return 0, fmt.Errorf("blob %s: %w", d, err)
	}
	b.verified.Delete(d)
	b.totalBytes.Add(-size)
	return size, nil
}
