package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	_ "crypto/sha256" // the digest algorithms of the image specification
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// layout is the folder on disk. Its form is described in docs/reference/image-store.md.
type layout struct {
	dir  string
	lock *os.File
}

const (
	blobsFolder   = "blobs"   // content, <algorithm>/<hex>
	uploadsFolder = "uploads" // blobs being written; emptied at start
	rootfsFolder  = "rootfs"  // unpacked layers, <algorithm>/<hex of the diff ID>
	damagedFolder = "damaged" // blobs that did not match their digest
)

// openLayout makes the folder if there is none, takes its lock, and clears what an interrupted process left behind.
func openLayout(dir string) (*layout, error) {
	for _, sub := range []string{
		"", uploadsFolder, rootfsFolder,
		filepath.Join(blobsFolder, string(digest.SHA256)), filepath.Join(blobsFolder, string(digest.SHA512)),
	} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("image store %s is in use by another process: stop it or choose another folder", dir)
	}
	l := &layout{dir: dir, lock: lock}
	if err := l.prepare(); err != nil {
		lock.Close()
		return nil, err
	}
	return l, nil
}

func (l *layout) prepare() error {
	data, err := os.ReadFile(filepath.Join(l.dir, ocispec.ImageLayoutFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		data, err = json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
		if err == nil {
			err = l.writeFile(ocispec.ImageLayoutFile, data)
		}
		if err != nil {
			return fmt.Errorf("image store %s: %w", l.dir, err)
		}
	case err != nil:
		return fmt.Errorf("image store: %w", err)
	default:
		var v ocispec.ImageLayout
		if err := json.Unmarshal(data, &v); err != nil || v.Version != ocispec.ImageLayoutVersion {
			return fmt.Errorf("image store %s: not an OCI image layout of version %s", l.dir, ocispec.ImageLayoutVersion)
		}
	}
	if err := emptyFolder(filepath.Join(l.dir, uploadsFolder)); err != nil {
		return fmt.Errorf("image store: clear interrupted uploads: %w", err)
	}
	return nil
}

func (l *layout) close() error { return l.lock.Close() }

func (l *layout) blobPath(d digest.Digest) string {
	return filepath.Join(l.dir, blobsFolder, string(d.Algorithm()), d.Encoded())
}

// readIndex gives the layout's index.json; a missing one is empty.
func (l *layout) readIndex() (*ocispec.Index, error) {
	index := new(ocispec.Index)
	data, err := os.ReadFile(filepath.Join(l.dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	if err := json.Unmarshal(data, index); err != nil {
		return nil, fmt.Errorf("image store: %s: %w", filepath.Join(l.dir, ocispec.ImageIndexFile), err)
	}
	return index, nil
}

// writeFile replaces a file of the layout so that a crash leaves the old or the new content, never a mixture.
func (l *layout) writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Join(l.dir, uploadsFolder), "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	target := filepath.Join(l.dir, name)
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(target))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
