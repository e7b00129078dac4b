package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// keyOf hashes anything that decides a result, in order.
func keyOf(parts ...any) string {
	sum := sha256.New()
	for _, p := range parts {
		data, err := json.Marshal(p)
		if err != nil {
			panic(err) // our own types always marshal
		}
		sum.Write(data)
		sum.Write([]byte{0})
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// hashFiles hashes the content, names and modes of files.
func hashFiles(files []layerFile) (string, error) {
	sum := sha256.New()
	if err := writeTar(sum, files); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// cachedLayer gives the layer that was made for a key before, or makes it.
func (j *job) cachedLayer(key string, files func() ([]layerFile, func(), error)) (*layer, error) {
	var note string
	if j.CacheDir != "" {
		note = filepath.Join(j.CacheDir, "keys", key)
		if data, err := os.ReadFile(note); err == nil {
			l := &layer{diffID: v1.Hash{Algorithm: "sha256", Hex: string(data)}}
			if l.find(filepath.Join(j.CacheDir, "layers")) {
				return l, nil
			}
		}
	}
	list, done, err := files()
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := j.layer(list)
	if err != nil || note == "" {
		return l, err
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	return l, os.WriteFile(note, []byte(l.diffID.Hex), 0o600)
}

// cachedImage gives the image that was made for a key before.
func (j *job) cachedImage(key string) (v1.Image, bool) {
	if j.CacheDir == "" || j.NoCache {
		return nil, false
	}
	dir := filepath.Join(j.CacheDir, "images", key)
	image, err := onlyImage(dir)
	if err != nil {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // only says that it is still of use
	return image, true
}

// keepImage moves an OCI layout into the cache and gives the image in it.
func (j *job) keepImage(key, from string) (v1.Image, error) {
	dir := filepath.Join(j.CacheDir, "images", key)
	err := os.MkdirAll(filepath.Dir(dir), 0o700)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err == nil {
		err = os.Rename(from, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	return onlyImage(dir)
}

// onlyImage opens an OCI layout that has one image.
func onlyImage(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("OCI layout %s has %d images: one is expected", dir, len(manifest.Manifests))
	}
	if entry := manifest.Manifests[0]; entry.MediaType.IsIndex() {
		child, err := index.ImageIndex(entry.Digest)
		if err != nil {
			return nil, err
		}
		return imageOfIndex(child)
	}
	return index.Image(manifest.Manifests[0].Digest)
}

// imageOfIndex picks the one image of an index that is not an attestation.
func imageOfIndex(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range manifest.Manifests {
		if m.MediaType.IsImage() && (m.Platform == nil || m.Platform.OS != "unknown") {
			return index.Image(m.Digest)
		}
	}
	return nil, fmt.Errorf("the index has no image")
}

// writeLayout writes an image as an OCI layout, for a base that came from afar and will be needed again.
func writeLayout(dir string, image v1.Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(image)
}

const (
	cacheLimitBytes = 4 << 30
	cacheKeep       = 30 * 24 * time.Hour
)

// trimCache removes what was not used for long, and the oldest over the limit.
func trimCache(dir string, now time.Time) error {
	type item struct {
		path string
		size int64
		used time.Time
	}
	var items []item
	var total int64
	for _, sub := range []string{"layers", "images", "bin"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			continue // nothing was kept there yet
		}
		for _, e := range entries {
			it := item{path: filepath.Join(dir, sub, e.Name())}
			if info, err := e.Info(); err == nil {
				it.used = info.ModTime()
			}
			_ = filepath.WalkDir(it.path, func(_ string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					if info, err := d.Info(); err == nil {
						it.size += info.Size()
					}
				}
				return nil
			})
			items = append(items, it)
			total += it.size
		}
	}
	slices.SortFunc(items, func(a, b item) int { return a.used.Compare(b.used) })
	for _, it := range items {
		if total <= cacheLimitBytes && now.Sub(it.used) < cacheKeep {
			return nil
		}
		if err := os.RemoveAll(it.path); err != nil {
			return fmt.Errorf("build cache: %w", err)
		}
		total -= it.size
	}
	return nil
}

// copyFile copies a file of this machine.
func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
