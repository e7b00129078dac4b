package build

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyLoopback(t *testing.T) {
	for _, c := range []struct {
		dockerfile string
		given      map[string]string
		want       bool
	}{
		{"FROM 127.0.0.1:5000/base\n", nil, true},
		{"FROM docker.io/library/base\n", nil, false},
		{"FROM scratch\n", nil, false},
		{"ARG BASE=docker.io/library/base\nFROM ${BASE}\n", nil, false},
		{"ARG BASE=docker.io/library/base\nFROM ${BASE}\n", map[string]string{"BASE": "127.0.0.1:5000/base"}, true},
		{"ARG BASE=localhost:5000/base\nFROM $BASE AS one\nFROM one\n", nil, true},
		{"ARG BASE=localhost:5000/base\nFROM $BASE\n", map[string]string{"BASE": "example.com/base"}, false},
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte(c.dockerfile), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := onlyLoopback(file, c.given)
		if err != nil || got != c.want {
			t.Errorf("%q with %v: %v, %v, want %v", c.dockerfile, c.given, got, err, c.want)
		}
	}
}
