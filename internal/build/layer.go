package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerFile is one entry of a layer. Times and owners are fixed, so that the same content gives the same digest.
type layerFile struct {
	target string // path in the image, without a leading slash
	source string // file on this machine; or
	data   []byte // the content itself
	link   string // target of a symbolic link
	dir    bool
	mode   int64 // 0 means 0755 for directories, 0644 for files
	uid    int   // owner and group
}

// fileLayer makes a layer of files, in the order given.
func fileLayer(files []layerFile) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		if err := f.write(w); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", f.target, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer))
}

func (f *layerFile) write(w *tar.Writer) error {
	h := &tar.Header{Name: f.target, Mode: f.mode, Uid: f.uid, Gid: f.uid, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case f.dir:
		h.Typeflag, h.Name = tar.TypeDir, f.target+"/"
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		return w.WriteHeader(h)
	case f.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		return w.WriteHeader(h)
	}
	h.Typeflag = tar.TypeReg
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	content := io.Reader(bytes.NewReader(f.data))
	h.Size = int64(len(f.data))
	if f.source != "" {
		file, err := os.Open(f.source)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		content, h.Size = file, info.Size()
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}

// folderFiles lists a folder for a layer, below target, in a fixed order. skip may leave entries out by their path.
func folderFiles(dir, target string, skip func(rel string, d fs.DirEntry) bool) ([]layerFile, error) {
	var files []layerFile
	for _, parent := range parents(target) {
		files = append(files, layerFile{target: parent, dir: true})
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		if skip != nil && skip(filepath.ToSlash(rel), d) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		f, err := layerFileOf(p, path.Join(target, filepath.ToSlash(rel)), d)
		if err == nil && f.target != "" {
			files = append(files, f)
		}
		return err
	})
	return files, err
}

func layerFileOf(p, target string, d fs.DirEntry) (layerFile, error) {
	switch {
	case d.IsDir():
		return layerFile{target: target, dir: true}, nil
	case d.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(p)
		return layerFile{target: target, link: link}, err
	case d.Type().IsRegular():
		info, err := d.Info()
		if err != nil {
			return layerFile{}, err
		}
		mode := int64(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		return layerFile{target: target, source: p, mode: mode}, nil
	}
	return layerFile{}, nil // sockets, pipes and devices have no content to take along
}

func parents(target string) []string {
	var all []string
	for p := path.Clean(target); p != "." && p != "/"; p = path.Dir(p) {
		all = append(all, strings.TrimPrefix(p, "/"))
	}
	slices.Reverse(all)
	return all
}

// dataLayer takes ko's kodata folder along; nil when there is none.
func dataLayer(dir string) (v1.Layer, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	files, err := folderFiles(dir, kodataPath, nil)
	if err != nil {
		return nil, err
	}
	return fileLayer(files)
}
