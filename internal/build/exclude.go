package build

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Ignored says of a file or folder in the source that it goes into no image, by its path relative to the source.
func Ignored(rel string) bool {
	switch filepath.Base(rel) {
	case ".git", ".hg", ".svn", ".DS_Store", ".env", "__pycache__", ".venv", "node_modules":
		return true
	}
	return strings.HasSuffix(rel, ".pyc")
}

// Within gives those of some paths that are in a folder or are it, as paths that begin with the folder as it is written; links on
// the way are followed.
func Within(folder string, paths []string) []string {
	var inside []string
	root := realPath(folder)
	for _, p := range paths {
		rel, err := filepath.Rel(root, realPath(p))
		if p != "" && err == nil && filepath.IsLocal(rel) {
			inside = append(inside, filepath.Join(folder, rel))
		}
	}
	return inside
}

// realPath follows the links of a path as far as it exists.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(realPath(parent), filepath.Base(path))
}

// skipUsual leaves out what belongs to the source but never into an image.
func skipUsual(rel string, _ fs.DirEntry) bool { return Ignored(rel) }

// sourceFiles lists the files of a folder of the source without what is Ignored or excluded.
func (j *job) sourceFiles(dir, target string, skip func(rel string, d fs.DirEntry) bool) ([]layerFile, error) {
	excluded := Within(dir, j.Exclude)
	return folderFiles(dir, target, func(rel string, d fs.DirEntry) bool {
		return skip(rel, d) || slices.Contains(excluded, filepath.Join(dir, filepath.FromSlash(rel)))
	})
}
