package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// detectArchive finds an image that is built already: an OCI layout, or an archive of one or of docker save.
func detectArchive(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		if exists(path, "oci-layout") && exists(path, "index.json") {
			return "it is an OCI image layout", nil
		}
		return "", nil
	}
	names, err := archiveNames(path)
	switch {
	case err != nil:
		return "", nil //nolint:nilerr // not a tar archive, so not ours
	case slices.Contains(names, "oci-layout"):
		return "it is an archive of an OCI image layout", nil
	case slices.Contains(names, "manifest.json"):
		return "it is an archive of docker save", nil
	}
	return "", nil
}

// archiveNames lists the first names of a tar archive; both forms have theirs near one end, so all are read.
func archiveNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, 512)
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.HasPrefix(magic[257:], []byte("ustar")) {
		return nil, errors.New("not a tar archive")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var names []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(h.Name, "./"))
	}
}

func buildArchive(_ context.Context, j *job) (built, error) {
	image, err := j.openArchive(j.Dir)
	return built{image: image}, err
}

// openArchive opens an image of this machine. The archive of an OCI layout is taken apart in the cache.
func (j *job) openArchive(path string) (v1.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return onlyImage(path)
	}
	names, err := archiveNames(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !slices.Contains(names, "oci-layout") {
		return tarball.ImageFromPath(path, nil)
	}
	if j.CacheDir == "" {
		return nil, fmt.Errorf("%s: the archive of an OCI layout needs a build cache to be taken apart in", path)
	}
	key := keyOf("archive", stamp(path))
	if image, ok := j.cachedImage(key); ok {
		return image, nil
	}
	temp, err := j.tempDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := untarLayout(path, temp); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return j.keepImage(key, temp)
}

// tempDir makes a folder in the cache, from where a result can be moved to its place.
func (j *job) tempDir() (string, error) {
	if err := os.MkdirAll(j.CacheDir, 0o700); err != nil {
		return "", fmt.Errorf("build cache: %w", err)
	}
	return os.MkdirTemp(j.CacheDir, "new-")
}

// untarLayout takes the archive of an OCI layout apart. It writes only the files such a layout has.
func untarLayout(path, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag != tar.TypeReg || name != "oci-layout" && name != "index.json" && !strings.HasPrefix(name, "blobs/") {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}
