package api

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// rotatingFile is a file that is appended to and, when it is full, becomes file.1, which becomes file.2, and so on; the oldest is
// removed. Several may write at once; what one of them writes stays in one piece.
type rotatingFile struct {
	path      string
	partBytes int64 // a part ends before the write that would make it larger
	old       int   // older parts that are kept

	mu   sync.Mutex
	file *os.File
	size int64
}

func openRotating(path string, partBytes int64, old int) (*rotatingFile, error) {
	f := &rotatingFile{path: path, partBytes: partBytes, old: old}
	return f, f.open()
}

// open appends to the newest part.
func (f *rotatingFile) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.path)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write appends. After an error, such as a full disk, the next write tries again.
func (f *rotatingFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(p)) > f.partBytes {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return n, err
}

// rotate moves every part on by one.
func (f *rotatingFile) rotate() error {
	if f.file != nil {
		err := f.file.Close()
		f.file = nil
		if err != nil {
			return err
		}
	}
	for i := f.old - 1; i >= 0; i-- {
		if err := os.Rename(f.part(i), f.part(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f.size = 0
	return nil
}

// part is the path of a part, 0 for the newest.
func (f *rotatingFile) part(i int) string {
	if i == 0 {
		return f.path
	}
	return fmt.Sprintf("%s.%d", f.path, i)
}

// Close ends it; a write after it opens the file again.
func (f *rotatingFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
