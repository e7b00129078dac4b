package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFolderWatch(t *testing.T) {
	root := t.TempDir()
	write := func(name string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main.go")
	write("node_modules/x/index.js")
	w, err := watchFolder(root, []string{filepath.Join(root, "home"), t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, step := range []struct{ change, want string }{
		{"main.go", "main.go"},
		{"new/deep/file.go", "new"},
		{"new/deep/file.go", "new/deep/file.go"},
	} {
		// What does not count comes first, so that it would be seen if it did.
		write("node_modules/x/index.js")
		write(".git/index")
		write("main.go~")
		write("lib.pyc")
		write("home/store/wal")
		write(step.change)
		got, err := w.next(ctx)
		if err != nil || got != step.want {
			t.Fatalf("after a change of %s got %q, %v, want %q", step.change, got, err, step.want)
		}
	}
	if err := os.Remove(filepath.Join(root, "main.go")); err != nil {
		t.Fatal(err)
	}
	if got, err := w.next(ctx); err != nil || got != "main.go" {
		t.Fatalf("after a removal got %q, %v", got, err)
	}
	cancel()
	if _, err := w.next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("after the end got %v", err)
	}
}

// TestFolderWatchOfHome refuses to watch the daemon's own folder, by whatever way it is named.
func TestFolderWatchOfHome(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{root, link} {
		if w, err := watchFolder(root, []string{home}); err == nil {
			w.close()
			t.Errorf("%s is watched though it is the home folder %s", root, home)
		}
	}
}

func TestIgnored(t *testing.T) {
	for name, want := range map[string]bool{".git": true, "main.go": false, "a~": true, ".x.swp": true, "4913": true, "src": false, "bin": true} {
		if got := ignored(name, true); got != want {
			t.Errorf("folder %s is ignored: %v, want %v", name, got, want)
		}
	}
	if ignored("bin", false) {
		t.Error("a file called bin is ignored")
	}
}
