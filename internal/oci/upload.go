package oci

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// upload is a blob on its way in. One request at a time may write to it.
type upload struct {
	id   string
	repo string
	room int64 // the most bytes it may have; 0 means no limit

	// mu guards what follows; a second writer finds it locked and is refused.
	mu       sync.Mutex
	file     *os.File
	size     int64
	sum      hash.Hash // SHA-256 of what was written
	lastUsed time.Time
	closed   bool
}

// uploadTable holds the open uploads. It is bounded: past uploadLimit the longest unused one gives way.
type uploadTable struct {
	mu   sync.Mutex // guards open
	open map[string]*upload
}

const (
	uploadLimit = 1000
	copyBytes   = 1 << 20
)

var errUploadBusy = errors.New("another request is writing to this upload")

func (t *uploadTable) create(s *Store, repo string) (*upload, error) {
	var room int64
	if limit := s.conf.SizeLimitBytes; limit > 0 {
		used := s.blobs.totalBytes.Load()
		if room = limit - used; room <= 0 {
			return nil, fmt.Errorf("%w: %d of %d bytes are used: prune images, or raise the limit", ErrFull, used, limit)
		}
	}
	id := rand.Text()
	f, err := os.OpenFile(filepath.Join(s.layout.dir, uploadsFolder, id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("upload to %s: %w", repo, err)
	}
	u := &upload{id: id, repo: repo, room: room, file: f, sum: sha256.New(), lastUsed: s.now()}
	t.mu.Lock()
	if t.open == nil {
		t.open = map[string]*upload{}
	}
	var oldest *upload
	if len(t.open) >= uploadLimit {
		for _, o := range t.open {
			if oldest == nil || o.lastUsed.Before(oldest.lastUsed) {
				oldest = o
			}
		}
	}
	t.open[id] = u
	t.mu.Unlock()
	if oldest != nil {
		t.cancel(oldest)
	}
	return u, nil
}

func (t *uploadTable) get(repo, id string) *upload {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.open[id]
	if u == nil || u.repo != repo {
		return nil
	}
	return u
}

func (t *uploadTable) forget(u *upload) {
	t.mu.Lock()
	delete(t.open, u.id)
	t.mu.Unlock()
}

// cancel throws an upload away. It waits for a request that is writing to it.
func (t *uploadTable) cancel(u *upload) {
	t.forget(u)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		u.file.Close()
		os.Remove(u.file.Name())
	}
}

func (t *uploadTable) closeAll() {
	t.mu.Lock()
	var all []*upload
	for _, u := range t.open {
		all = append(all, u)
	}
	t.mu.Unlock()
	for _, u := range all {
		t.cancel(u)
	}
}

// cancelIdle throws away uploads nobody wrote to since before.
func (t *uploadTable) cancelIdle(before time.Time) {
	t.mu.Lock()
	var idle []*upload
	for _, u := range t.open {
		if u.mu.TryLock() {
			if u.lastUsed.Before(before) {
				idle = append(idle, u)
			}
			u.mu.Unlock()
		}
	}
	t.mu.Unlock()
	for _, u := range idle {
		t.cancel(u)
	}
}

// writeFrom appends everything r has. What was written before an error stays, so the client can go on from there.
func (u *upload) writeFrom(ctx context.Context, r io.Reader) (int64, error) {
	if !u.mu.TryLock() {
		return 0, errUploadBusy
	}
	defer u.mu.Unlock()
	if u.closed {
		return 0, fmt.Errorf("upload %s: %w", u.id, ErrNotFound)
	}
	u.lastUsed = time.Now()
	if u.room > 0 {
		r = io.LimitReader(r, u.room-u.size+1) // one byte more tells that there is too much
	}
	n, err := copyHashed(ctx, u.file, u.sum, r, u.size)
	u.size += n
	if err == nil && u.room > 0 && u.size > u.room {
		return n, fmt.Errorf("upload to %s: %w: %d bytes were left: prune images, or raise the limit", u.repo, ErrFull, u.room)
	}
	if err != nil {
		return n, fmt.Errorf("upload to %s after %d bytes: %w", u.repo, u.size, err)
	}
	return n, nil
}

func (u *upload) written() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.size
}

// commit checks an upload against its digest and makes it a blob of the repository. Any error ends the upload.
func (s *Store) commit(u *upload, d digest.Digest) error {
	if !u.mu.TryLock() {
		return errUploadBusy
	}
	defer u.mu.Unlock()
	if u.closed {
		return fmt.Errorf("upload %s: %w", u.id, ErrNotFound)
	}
	u.closed = true
	s.uploads.forget(u)
	path := u.file.Name()
	err := u.check(d)
	if err == nil {
		err = u.file.Sync()
	}
	if closeErr := u.file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(path)
		return err
	}
	s.met.uploadBytes.Add(float64(u.size))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.blobs.adopt(path, d, u.size); err != nil {
		os.Remove(path)
		return err
	}
	s.catalog.repository(u.repo).uploaded[d] = s.now()
	return nil
}

func (u *upload) check(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return &invalidError{code: codeDigestInvalid, err: fmt.Errorf("digest %q: %w", d, err)}
	}
	got := digest.NewDigest(digest.SHA256, u.sum)
	if d.Algorithm() != digest.SHA256 {
		if _, err := u.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		var err error
		if got, err = d.Algorithm().FromReader(u.file); err != nil {
			return err
		}
	}
	if got != d {
		return &invalidError{code: codeDigestInvalid, err: fmt.Errorf("content has digest %s, not %s", got, d)}
	}
	return nil
}

// copyHashed appends r to f and to sum. It starts write-back as it goes, so that the sync at the end is short.
func copyHashed(ctx context.Context, f *os.File, sum hash.Hash, r io.Reader, offset int64) (int64, error) {
	buf := make([]byte, copyBytes)
	var n int64
	for {
		if err := context.Cause(ctx); err != nil {
			return n, err
		}
		got, readErr := fill(r, buf)
		if got > 0 {
			if _, err := f.WriteAt(buf[:got], offset+n); err != nil {
				return n, err
			}
			sum.Write(buf[:got])
			startWriteback(f, offset+n, int64(got))
			n += int64(got)
		}
		if errors.Is(readErr, io.EOF) {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

// fill reads until buf is full or r ends, and gives r's own error (io.ReadFull would hide a cut-off body).
func fill(r io.Reader, buf []byte) (int, error) {
	var n int
	for n < len(buf) {
		got, err := r.Read(buf[n:])
		n += got
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
