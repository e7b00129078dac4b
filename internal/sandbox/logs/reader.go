package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/fsnotify/fsnotify"
)

// Reader reads a log from its oldest record on. It is for one goroutine.
type Reader struct {
	dir    string
	number int // of the open segment
	f      *os.File
	buf    []byte
	start  int // of the unread part of buf
	ended  bool
}

// OpenReader opens the log in dir. A log that does not exist reads as empty.
func OpenReader(dir string) *Reader {
	return &Reader{dir: dir}
}

// Next gives the next record, or io.EOF if there is none yet; it may be called again later. The record is the caller's to keep.
func (r *Reader) Next() (Record, error) {
	for {
		if r.f == nil {
			if err := r.advance(); err != nil {
				return Record{}, err
			}
		}
		rec, err := r.parse()
		if err == nil {
			return rec, nil
		}
		n, err := r.fill()
		if err != nil {
			return Record{}, err
		}
		if n > 0 {
			continue
		}
		more, err := r.hasNewer()
		if err != nil {
			return Record{}, err
		}
		if !more {
			return Record{}, io.EOF
		}
		if !r.ended {
			// The newer segment may have come after our read: read the rest of this one first.
			r.ended = true
			continue
		}
		r.f.Close()
		r.f = nil
	}
}

// parse takes the next good record out of the buffer, skipping damage, or returns errShort.
func (r *Reader) parse() (Record, error) {
	for {
		rec, n, err := parseRecord(r.buf[r.start:])
		switch {
		case err == nil:
			r.start += n
			rec.Data = bytes.Clone(rec.Data)
			return rec, nil
		case errors.Is(err, errShort):
			return Record{}, errShort
		}
		next := bytes.IndexByte(r.buf[r.start+1:], magic)
		if next < 0 {
			r.start = len(r.buf)
			return Record{}, errShort
		}
		r.start += 1 + next
	}
}

func (r *Reader) fill() (int, error) {
	if r.start > 0 {
		r.buf = append(r.buf[:0], r.buf[r.start:]...)
		r.start = 0
	}
	const step = 64 << 10
	r.buf = append(r.buf, make([]byte, step)...)
	n, err := r.f.Read(r.buf[len(r.buf)-step:])
	r.buf = r.buf[:len(r.buf)-step+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading a log segment: %w", err)
	}
	return n, nil
}

// advance opens the first segment after the one read last.
func (r *Reader) advance() error {
	numbers, err := segments(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return io.EOF
	}
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n <= r.number {
			continue
		}
		f, err := os.Open(segmentPath(r.dir, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed by the writer in between
		}
		if err != nil {
			return fmt.Errorf("opening a log segment: %w", err)
		}
		r.f, r.number, r.ended = f, n, false
		r.buf, r.start = r.buf[:0], 0
		return nil
	}
	return io.EOF
}

func (r *Reader) hasNewer() (bool, error) {
	numbers, err := segments(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(numbers) > 0 && numbers[len(numbers)-1] > r.number, nil
}

// Close releases the open segment.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	return f.Close()
}

// follow calls each for every record of the log in dir, and caughtUp once, when it has read what is there, until one of them returns
// false. With a channel done it waits for new records until ctx ends or done is closed, after which the rest of the log is read.
func follow(ctx context.Context, dir string, done <-chan struct{}, caughtUp func() bool, each func(Record) bool) error {
	var changes <-chan fsnotify.Event
	var trouble <-chan error
	ended := done == nil
	if !ended {
		watcher, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("watching the log: %w", err)
		}
		defer watcher.Close()
		if err := watcher.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("watching the log: %w", err)
		}
		changes, trouble = watcher.Events, watcher.Errors
	}
	r := OpenReader(dir)
	defer r.Close()
	for behind := true; ; {
		rec, err := r.Next()
		if err == nil {
			if !each(rec) {
				return nil
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if behind && !caughtUp() {
			return nil
		}
		behind = false
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-done:
			ended = true
		case <-changes:
		case err := <-trouble:
			return fmt.Errorf("watching the log: %w", err)
		}
	}
}
