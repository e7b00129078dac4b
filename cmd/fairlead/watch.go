package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/fairlead-dev/fairlead/internal/build"
)

// calm is how long a folder must be without changes before they count as one: editors and git write several files.
const calm = 60 * time.Millisecond

// generated are folders that hold what tools make of the source.
var generated = []string{"node_modules", "__pycache__", "vendor", "dist", "bin"}

// folderWatch tells when the source in a folder changes. It looks at subfolders too, but not at hidden ones and those
// that tools fill.
type folderWatch struct {
	root     string
	excluded []string // below root
	watcher  *fsnotify.Watcher
}

// watchFolder watches a folder without some that may lie in it.
func watchFolder(root string, exclude []string) (*folderWatch, error) {
	excluded := build.Within(root, exclude)
	if slices.Contains(excluded, root) {
		return nil, withTry(usagef("%s is Fairlead's own folder, not one of source", root), "the folder with the source, or --home with another")
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", root, err)
	}
	w := &folderWatch{root: root, excluded: excluded, watcher: watcher}
	if err := w.add(root); err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	return w, nil
}

func (w *folderWatch) close() error { return w.watcher.Close() }

// add watches a folder and those below it; a folder that has gone meanwhile is no error.
func (w *folderWatch) add(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if path != w.root && w.ignores(path, entry.IsDir()) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.IsDir() {
			return nil
		}
		if err := w.watcher.Add(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return withTry(fmt.Errorf("watch %s: %w", dir, err), "sysctl fs.inotify.max_user_watches, if there are too many folders")
	}
	return nil
}

// ignores tells whether a path is not source.
func (w *folderWatch) ignores(path string, isDir bool) bool {
	return slices.Contains(w.excluded, path) || ignored(filepath.Base(path), isDir)
}

// ignored tells whether a file or folder of this name is not source: hidden, made by tools, or an editor's own.
func ignored(name string, isDir bool) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".swp") || name == "4913" || build.Ignored(name) {
		return true
	}
	return isDir && slices.Contains(generated, name)
}

// next waits for a change and for calm after it. It gives the path of a file that changed, relative to the folder.
func (w *folderWatch) next(ctx context.Context) (string, error) {
	var quiet <-chan time.Time
	changed := ""
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-quiet:
			return changed, nil
		case err := <-w.watcher.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				return ".", nil // much has changed; it does not matter what
			}
			return "", fmt.Errorf("watch %s: %w", w.root, err)
		case event, open := <-w.watcher.Events:
			if !open {
				return "", fmt.Errorf("watch %s: %w", w.root, fsnotify.ErrClosed)
			}
			if path, counts := w.counts(event); counts {
				changed, quiet = path, time.After(calm)
			}
		}
	}
}

// counts tells whether an event is a change of source, and begins to watch folders that are new.
func (w *folderWatch) counts(event fsnotify.Event) (string, bool) {
	if event.Op == fsnotify.Chmod {
		return "", false
	}
	info, err := os.Lstat(event.Name)
	isDir := err == nil && info.IsDir()
	if w.ignores(event.Name, isDir) {
		return "", false
	}
	if isDir {
		if !event.Has(fsnotify.Create) {
			return "", false
		}
		if err := w.add(event.Name); err != nil {
			return "", false
		}
	}
	path, err := filepath.Rel(w.root, event.Name)
	if err != nil {
		path = event.Name
	}
	return path, true
}
