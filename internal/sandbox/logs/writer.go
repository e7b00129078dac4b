package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	segmentsKept = 4
	suffix       = ".log"
)

// Writer appends to the log of one instance. Its methods may be called at once.
type Writer struct {
	dir   string
	limit int64 // of one segment

	mu     sync.Mutex
	f      *os.File
	number int
	size   int64
	buf    []byte
	last   time.Time // of the newest record
}

// OpenWriter opens the log in dir, which is made if missing, for appending. The log stays below limitBytes, except that it
// always holds at least one record.
func OpenWriter(dir string, limitBytes int64) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the log folder: %w", err)
	}
	numbers, err := segments(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, limit: max(limitBytes/segmentsKept, 1), number: 1}
	if len(numbers) > 0 {
		// A new segment after a crash: the end of the old one may be torn.
		w.number = numbers[len(numbers)-1] + 1
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(segmentPath(w.dir, w.number), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening a log segment: %w", err)
	}
	w.f, w.size = f, 0
	return nil
}

// Append adds records, which are kept together in one segment. No record gets an earlier time than those before it, so that who has
// read up to a time knows what is new: two streams are cut into lines at once, and clocks are set back.
func (w *Writer) Append(records ...Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return fs.ErrClosed
	}
	w.buf = w.buf[:0]
	for _, r := range records {
		if r.Time.Before(w.last) {
			r.Time = w.last
		}
		w.last = r.Time
		w.buf = appendRecord(w.buf, r)
	}
	if w.size > 0 && w.size+int64(len(w.buf)) > w.limit {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	n, err := w.f.Write(w.buf)
	w.size += int64(n)
	if cap(w.buf) > 64<<10 {
		w.buf = nil // an instance that once wrote a huge line does not keep the memory
	}
	if err != nil {
		return fmt.Errorf("writing to the log: %w", err)
	}
	return nil
}

func (w *Writer) rotate() error {
	w.f.Close()
	w.f = nil
	w.number++
	numbers, err := segments(w.dir)
	if err != nil {
		return err
	}
	for len(numbers) >= segmentsKept {
		if err := os.Remove(segmentPath(w.dir, numbers[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the oldest log segment: %w", err)
		}
		numbers = numbers[1:]
	}
	return w.open()
}

// Close ends writing. Further calls of Append fail with fs.ErrClosed.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	return f.Close()
}

func segmentPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", number, suffix))
}

// segments lists the numbers of the segments in dir, oldest first.
func segments(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing log segments: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.Atoi(name); isSegment && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, cmp.Compare)
	return numbers, nil
}
