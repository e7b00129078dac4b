package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

const dialTimeout = 5 * time.Second

// Snapshot writes a consistent copy of the running store in dir to w, over its socket, from any process of a user who
// may read the folder. The copy ends with its own SHA-256, which Restore checks. It returns the bytes written.
func Snapshot(ctx context.Context, dir string, w io.Writer) (int64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, fmt.Errorf("store: find folder %s: %w", dir, err)
	}
	open, err := os.Open(dir)
	if err != nil {
		return 0, away(dir, err)
	}
	defer open.Close()
	path := shortSocketPath(dir, open)
	if _, err := os.Stat(path); err != nil {
		return 0, away(dir, err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + path}, DialTimeout: dialTimeout, Logger: zap.NewNop()})
	if err != nil {
		return 0, fmt.Errorf("store: dial %s: %w", path, err)
	}
	defer client.Close()
	r, err := client.Snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("store: begin snapshot of %s: %w", dir, err)
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err != nil {
		return n, fmt.Errorf("store: write snapshot of %s: %w", dir, err)
	}
	// The stream is the database, a multiple of 512 bytes, and then its hash.
	if n%512 != sha256.Size {
		return n, fmt.Errorf("store: snapshot of %s ended early, after %d bytes", dir, n)
	}
	return n, nil
}

// advised is an error with what a person could try.
type advised struct {
	err error
	try string
}

func (e *advised) Error() string { return e.err.Error() }
func (e *advised) Unwrap() error { return e.err }

// Try is the advice.
func (e *advised) Try() string { return e.try }

// away is what is wrong where a running store should be.
func away(dir string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &advised{fmt.Errorf("store: no daemon serves %s: %w", dir, err), "fairlead serve, or --home with the home folder of a daemon that runs"}
	}
	return &advised{fmt.Errorf("store: open folder: %w", err), "as the user who runs the daemon"}
}

// Snapshot writes a consistent copy of this store to w; see the function of the same name.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) (int64, error) {
	return Snapshot(ctx, s.cfg.Dir, w)
}

// ErrExists is what Restore returns when there is a store in the folder already.
var ErrExists = errors.New("a store exists there already")

// Restore makes a store in dir from a file that Snapshot wrote. It refuses to touch a folder that has a store
// (ErrExists) or that is in use, checks the hash before it writes anything, and leaves nothing behind when it fails.
func Restore(dir, file string) error {
	if exists(dir) {
		return &advised{fmt.Errorf("store: restore into %s: %w", dir, ErrExists), "move it away, or --home with another folder"}
	}
	if err := verify(file); err != nil {
		return err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("store: find folder %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: make folder %s: %w", dir, err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	target := filepath.Join(dir, "etcd")
	// An empty folder from a start that never came further would make etcd's restore refuse.
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: restore into %s: %w", target, err)
	}
	setSegmentSize()
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                "fairlead",
		OutputDataDir:       target,
		PeerURLs:            []string{"http://" + peerName},
		InitialCluster:      "fairlead=http://" + peerName,
		InitialClusterToken: "etcd-cluster",
		InitialMmapSize:     10 << 20,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("store: restore %s: %w", file, err), os.RemoveAll(target))
	}
	return nil
}

const wholeBackup = "a file that fairlead backup has written, unchanged"

// verify checks that file is a whole snapshot.
func verify(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("store: open snapshot: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: read snapshot %s: %w", file, err)
	}
	if info.IsDir() {
		return &advised{fmt.Errorf("store: %s is a folder, not a backup", file), wholeBackup}
	}
	size := info.Size() - sha256.Size
	if size <= 0 || size%512 != 0 {
		return &advised{fmt.Errorf("store: %s is not a whole backup (its size is wrong)", file), wholeBackup}
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, size); err != nil {
		return fmt.Errorf("store: read snapshot %s: %w", file, err)
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return fmt.Errorf("store: read snapshot %s: %w", file, err)
	}
	if string(h.Sum(nil)) != string(want) {
		return &advised{fmt.Errorf("store: %s is damaged: its checksum does not match", file), wholeBackup}
	}
	return nil
}
