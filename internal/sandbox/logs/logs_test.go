package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func readAll(t *testing.T, dir string) []Record {
	t.Helper()
	r := OpenReader(dir)
	defer r.Close()
	var out []Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	w, err := OpenWriter(dir, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte{0, 0xF1, '\r', 0xFF}, MaxLine/4)
	want := []Record{
		{Time: time.Unix(1, 2), Stream: Stdout, Container: "app", Data: []byte("hello")},
		{Time: time.Unix(3, 4), Stream: Stderr, Container: "side", Data: []byte{}},
		{Time: time.Unix(5, 6), Stream: Stdout, Container: "app", Partial: true, Data: big},
	}
	for _, r := range want {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	got := readAll(t, dir)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if !g.Time.Equal(w.Time) || g.Stream != w.Stream || g.Container != w.Container || g.Partial != w.Partial || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("record %d differs", i)
		}
	}
}

func TestLimit(t *testing.T) {
	dir := t.TempDir()
	const limit = 40 << 10
	w, err := OpenWriter(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 5000 {
		if err := w.Append(Record{Container: "c", Data: fmt.Appendf(nil, "line %d", i)}); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			var sum int64
			for _, f := range files {
				info, err := os.Stat(f)
				if err != nil {
					t.Fatal(err)
				}
				sum += info.Size()
			}
			if sum > limit {
				t.Fatalf("the log has %d bytes, limit %d", sum, limit)
			}
		}
	}
	got := readAll(t, dir)
	if last := string(got[len(got)-1].Data); last != "line 4999" {
		t.Errorf("last line %q", last)
	}
	for i := 1; i < len(got); i++ {
		var a, b int
		fmt.Sscanf(string(got[i-1].Data), "line %d", &a)
		fmt.Sscanf(string(got[i].Data), "line %d", &b)
		if b != a+1 {
			t.Fatalf("after line %d comes %d", a, b)
		}
	}
}

func TestTornEndAndReopen(t *testing.T) {
	dir := t.TempDir()
	w, err := OpenWriter(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	w.Append(Record{Container: "c", Data: []byte("one")}, Record{Container: "c", Data: []byte("two")})
	w.Close()
	path := segmentPath(dir, 1)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-2); err != nil {
		t.Fatal(err)
	}
	if w, err = OpenWriter(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Append(Record{Container: "c", Data: []byte("three")})
	got := readAll(t, dir)
	if len(got) != 2 || string(got[0].Data) != "one" || string(got[1].Data) != "three" {
		t.Errorf("got %d records", len(got))
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	w, err := OpenWriter(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, seconds := range []int64{5, 3, 7} {
		w.Append(Record{Time: time.Unix(seconds, 0), Container: "c"})
	}
	for i, want := range []int64{5, 5, 7} {
		if got := readAll(t, dir)[i].Time.Unix(); got != want {
			t.Errorf("record %d is of %d, want %d", i, got, want)
		}
	}
}

func TestSplitter(t *testing.T) {
	long := bytes.Repeat([]byte("x"), MaxLine+10)
	in := append([]byte("a\n\nb\x00c\n"), append(long, "\nlast"...)...)
	for _, step := range []int{1, 7, 4096, len(in)} {
		if step == 1 && testing.Short() {
			continue
		}
		s := Splitter{Container: "c"}
		var got []Record
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			for _, r := range s.Split(rest[:n], time.Time{}) {
				r.Data = bytes.Clone(r.Data)
				got = append(got, r)
			}
			rest = rest[n:]
		}
		got = append(got, s.End(time.Time{})...)
		if len(got) != 6 {
			t.Fatalf("step %d: %d records", step, len(got))
		}
		if !got[3].Partial || len(got[3].Data) != MaxLine || len(got[4].Data) != 10 || string(got[5].Data) != "last" || string(got[2].Data) != "b\x00c" {
			t.Errorf("step %d: wrong records", step)
		}
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	w, err := OpenWriter(dir, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const n = 300 // enough to rotate
	done := make(chan struct{})
	got := make(chan string)
	result := make(chan error, 1)
	go func() {
		result <- follow(context.Background(), dir, done, func() bool { return true }, func(r Record) bool { got <- string(r.Data); return true })
	}()
	for i := range n {
		want := fmt.Sprint("line ", i)
		if err := w.Append(Record{Container: "c", Data: []byte(want)}); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != want {
			t.Fatalf("got %q, want %q", g, want)
		}
	}
	w.Append(Record{Container: "c", Data: []byte("end")})
	close(done)
	if g := <-got; g != "end" {
		t.Errorf("got %q after done", g)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(appendRecord(nil, Record{Time: time.Unix(1, 1), Stream: Stderr, Container: "app", Data: []byte("hello")}))
	f.Add([]byte{magic, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := parseRecord(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("record of %d bytes in %d", n, len(b))
		}
		if !bytes.Equal(appendRecord(nil, r), b[:n]) {
			t.Fatal("encoding what was decoded gives other bytes")
		}
	})
}
