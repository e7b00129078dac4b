package build

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
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

// layer is a gzip layer in the build cache, or in memory when there is no cache.
type layer struct {
	diffID, digest v1.Hash
	size           int64
	path           string
	packed         []byte
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l *layer) Compressed() (io.ReadCloser, error) {
	if l.path == "" {
		return io.NopCloser(bytes.NewReader(l.packed)), nil
	}
	return os.Open(l.path)
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	packed, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(packed)
	if err != nil {
		packed.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, packed}, nil
}

// layer makes a layer of files, in the order given. Files are read twice: to know the diff ID, by which the cache has
// layers that were packed before, and to pack them.
func (j *job) layer(files []layerFile) (*layer, error) {
	sum := sha256.New()
	if err := writeTar(sum, files); err != nil {
		return nil, err
	}
	l := &layer{diffID: hashOf(sum)}
	if j.CacheDir == "" {
		var out bytes.Buffer
		if err := l.pack(&out, files); err != nil {
			return nil, err
		}
		l.packed = out.Bytes()
		return l, nil
	}
	return l, l.inCache(filepath.Join(j.CacheDir, "layers"), files)
}

func hashOf(sum hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
}

// inCache finds the packed layer, or packs it. The name of its file has both digests.
func (l *layer) inCache(dir string, files []layerFile) error {
	if l.find(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("build cache: %w", err)
	}
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return fmt.Errorf("build cache: %w", err)
	}
	defer os.Remove(f.Name()) // renamed when all went well
	err = l.pack(f, files)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	l.path = filepath.Join(dir, l.diffID.Hex+"-"+l.digest.Hex+layerSuffix)
	return os.Rename(f.Name(), l.path)
}

const layerSuffix = ".tar.gz"

func (l *layer) find(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, l.diffID.Hex+"-*"+layerSuffix))
	if err != nil || len(found) == 0 {
		return false
	}
	info, err := os.Stat(found[0])
	if err != nil {
		return false
	}
	_, digest, _ := strings.Cut(strings.TrimSuffix(filepath.Base(found[0]), layerSuffix), "-")
	l.path, l.size, l.digest = found[0], info.Size(), v1.Hash{Algorithm: "sha256", Hex: digest}
	now := time.Now()
	_ = os.Chtimes(l.path, now, now) // only says that it is still of use
	return true
}

func (l *layer) pack(w io.Writer, files []layerFile) error {
	sum := sha256.New()
	count := &countingWriter{w: io.MultiWriter(w, sum)}
	z := gzip.NewWriter(count)
	plain := sha256.New()
	if err := writeTar(io.MultiWriter(z, plain), files); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if hashOf(plain) != l.diffID {
		return errors.New("a file changed while it was read: build again")
	}
	l.digest, l.size = hashOf(sum), count.n
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func writeTar(out io.Writer, files []layerFile) error {
	w := tar.NewWriter(out)
	for _, f := range files {
		if err := f.write(w); err != nil {
			return fmt.Errorf("layer entry %s: %w", f.target, err)
		}
	}
	return w.Close()
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

// eachFile reads the small files of a layer whose names have a form.
func (l *layer) eachFile(form *regexp.Regexp, f func(match []string, content string)) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m := form.FindStringSubmatch(h.Name); m != nil {
			content, err := io.ReadAll(io.LimitReader(archive, 1<<20))
			if err != nil {
				return err
			}
			f(m, string(content))
		}
	}
}
