package build_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/build"
)

const serviceGo = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello", r.URL.Path) })
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
`

// BenchmarkGoService builds a small HTTP service: with nothing built before but Go's own cache of the standard library,
// and again with nothing changed.
func BenchmarkGoService(b *testing.B) {
	dir := b.TempDir()
	for name, content := range map[string]string{"go.mod": "module example.com/service\n\ngo 1.24\n", "main.go": serviceGo} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	cache := b.TempDir()
	for name, cacheDir := range map[string]func() string{
		"cold": func() string { return b.TempDir() },
		"warm": func() string { return cache },
	} {
		b.Run(name, func(b *testing.B) {
			if _, err := build.Build(b.Context(), build.Request{Dir: dir, CacheDir: cache}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := build.Build(b.Context(), build.Request{Dir: dir, CacheDir: cacheDir()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
