package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// start runs a store in dir until the test ends or stop is called.
func start(t *testing.T, cfg Config) (s *Store, stop func() error) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("run: %v", err)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { stop() })
	return s, stop
}

func client(t *testing.T, s *Store) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestKeepsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, Config{Dir: dir})
	if _, err := client(t, s).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s, _ = start(t, Config{Dir: dir})
	got, err := client(t, s).Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("after reopening: %v, %v", got, err)
	}
}

func TestLongFolderName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a", 120), "store")
	s, _ := start(t, Config{Dir: dir})
	if _, err := client(t, s).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := Snapshot(t.Context(), dir, &b); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, Config{Dir: dir})
	_, err := New(Config{Dir: dir})
	var f *Fault
	if !errors.As(err, &f) || f.Reason != ReasonInUse {
		t.Fatalf("second store: %v, want a fault of reason InUse", err)
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, Config{Dir: dir})
	c := client(t, s)
	put, err := c.Put(t.Context(), "k", "v")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Close()

	if err := Restore(dir, file); !errors.Is(err, ErrExists) {
		t.Errorf("restore over a store: %v, want ErrExists", err)
	}
	fresh := t.TempDir()
	if err := Restore(fresh, file); err != nil {
		t.Fatal(err)
	}
	r, _ := start(t, Config{Dir: fresh})
	got, err := client(t, r).Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("restored: %v, %v", got, err)
	}
	if got.Kvs[0].ModRevision != put.Header.Revision {
		t.Errorf("restored revision %d, want %d", got.Kvs[0].ModRevision, put.Header.Revision)
	}
}

func TestRestoreRefusesDamagedFile(t *testing.T) {
	s, _ := start(t, Config{Dir: t.TempDir()})
	var b bytes.Buffer
	if _, err := s.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"flipped": append(append([]byte{}, b.Bytes()[:1000]...), append([]byte{b.Bytes()[1000] ^ 1}, b.Bytes()[1001:]...)...),
		"short":   b.Bytes()[:b.Len()-100],
		"empty":   nil,
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "new")
		if err := Restore(dir, file); err == nil {
			t.Errorf("%s: restored", name)
		}
		if exists(dir) {
			t.Errorf("%s: left something behind", name)
		}
	}
}
