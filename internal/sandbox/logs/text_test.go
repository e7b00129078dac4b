package logs

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// written is a log with lines of two containers, one of them in two records.
func written(t *testing.T) (string, *Writer) {
	t.Helper()
	dir := t.TempDir()
	w, err := OpenWriter(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	at := func(s int64) time.Time { return time.Unix(s, 5) }
	err = w.Append(
		Record{Time: at(1), Container: "a", Data: []byte("one")},
		Record{Time: at(2), Container: "b", Data: []byte("other")},
		Record{Time: at(3), Container: "a", Stream: Stderr, Data: []byte("two")},
		Record{Time: at(4), Container: "a", Partial: true, Data: []byte("thr")},
		Record{Time: at(5), Container: "a", Data: []byte("ee")},
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir, w
}

func TestText(t *testing.T) {
	dir, _ := written(t)
	last := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		query Query
		want  string
	}{
		"all":          {Query{}, "one\nother\ntwo\nthree\n"},
		"container":    {Query{Container: "b"}, "other\n"},
		"stream":       {Query{Streams: []Stream{Stderr}}, "two\n"},
		"from":         {Query{From: time.Unix(3, 5)}, "two\nthree\n"},
		"until":        {Query{Until: time.Unix(3, 5)}, "one\nother\n"},
		"last":         {Query{Container: "a", Last: last(2)}, "two\nthree\n"},
		"last, begun":  {Query{Last: last(1)}, "three\n"},
		"last, more":   {Query{Last: last(9)}, "one\nother\ntwo\nthree\n"},
		"last, none":   {Query{Last: last(0)}, ""},
		"limit":        {Query{LimitBytes: 6}, "one\not"},
		"limit, exact": {Query{LimitBytes: 4}, "one\n"},
		"times":        {Query{Container: "a", From: time.Unix(3, 5), Timestamps: true}, "1970-01-01T00:00:03.000000005Z two\n1970-01-01T00:00:04.000000005Z three\n"},
	} {
		r := Open(t.Context(), dir, nil, c.query)
		text, err := io.ReadAll(r)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: %q, %v, want %q", name, text, err, c.want)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := Open(t.Context(), dir+"/none", nil, Query{})
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || len(text) > 0 {
		t.Errorf("a log that is not there: %q, %v", text, err)
	}
}

func TestTextGoesOn(t *testing.T) {
	dir, w := written(t)
	done, one := make(chan struct{}), int64(1)
	r := Open(t.Context(), dir, done, Query{Container: "a", Last: &one})
	defer r.Close()
	read := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
	read("three\n")
	for _, line := range []string{"four", "five"} {
		if err := w.Append(Record{Container: "a", Data: []byte(line)}, Record{Container: "b", Data: []byte("no")}); err != nil {
			t.Fatal(err)
		}
		read(line + "\n")
	}
	if err := w.Append(Record{Container: "a", Data: []byte("six")}); err != nil {
		t.Fatal(err)
	}
	close(done)
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "six\n" {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

func TestTextEndsWithItsContext(t *testing.T) {
	dir, _ := written(t)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := Open(ctx, dir, make(chan struct{}), Query{})
	defer r.Close()
	cancel(reason)
	if _, err := io.ReadAll(r); !errors.Is(err, reason) {
		t.Errorf("ended with %v", err)
	}
}

func TestMessage(t *testing.T) {
	dir, w := written(t)
	if got, err := Message(dir, Query{Container: "a"}); err != nil || got != "one\ntwo\nthr\nee" {
		t.Errorf("%q, %v", got, err)
	}
	if err := w.Append(Record{Container: "a", Data: []byte(strings.Repeat("é", 2000) + "end")}); err != nil {
		t.Fatal(err)
	}
	got, err := Message(dir, Query{Container: "a"})
	if err != nil || len(got) > messageBytes+2 || !strings.HasSuffix(got, "éend") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
