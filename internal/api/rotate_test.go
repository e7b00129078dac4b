package api

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestRotation writes from many sides, and wants all lines whole, the newest kept in order, and the space bounded.
func TestRotation(t *testing.T) {
	const part, old, writers, each = 1000, 3, 8, 200
	path := filepath.Join(t.TempDir(), "log")
	f, err := openRotating(path, part, old)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for n := range each {
				if _, err := fmt.Fprintf(f, "writer %d line %04d\n", i, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	last := map[int]int{}
	total := 0
	for i := old; i >= 0; i-- {
		data, err := os.ReadFile(f.part(i))
		if err != nil || len(data) > part {
			t.Fatalf("part %d: %d bytes, %v", i, len(data), err)
		}
		for line := range bytes.Lines(data) {
			var writer, n int
			if _, err := fmt.Sscanf(string(line), "writer %d line %d\n", &writer, &n); err != nil {
				t.Fatalf("part %d: %q: %v", i, line, err)
			}
			if before, ok := last[writer]; ok && n != before+1 {
				t.Errorf("writer %d: line %d after %d", writer, n, before)
			}
			last[writer] = n
			total++
		}
	}
	if _, err := os.Stat(f.part(old + 1)); err == nil {
		t.Error("an older part is kept")
	}
	if line := len("writer 0 line 0000\n"); total < old*(part/line) {
		t.Errorf("%d lines kept", total)
	}
}

// TestRotationGoesOn opens a file that has content, and writes on after parts were taken away from under it.
func TestRotationGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openRotating(path, 14, 1)
	if err != nil {
		t.Fatal(err)
	}
	write := func(line string) {
		t.Helper()
		if _, err := f.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(i int, content string) {
		t.Helper()
		if data, err := os.ReadFile(f.part(i)); err != nil || string(data) != content {
			t.Errorf("part %d: %q, %v", i, data, err)
		}
	}
	write("second\n")
	want(0, "before\nsecond\n")
	write("a line longer than a part\n")
	want(0, "a line longer than a part\n")
	want(1, "before\nsecond\n")
	if err := os.Remove(f.part(1)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write("x\n")
	want(0, "x\n")
	want(1, "a line longer than a part\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
