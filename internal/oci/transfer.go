package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// exportTrailer says after an exported archive whether it is whole.
const exportTrailer = "Fairlead-Export"

func (s *Store) serveExport(w http.ResponseWriter, reference string) {
	if _, _, err := s.find(reference); err != nil {
		s.answer(w, err, codeManifestUnknown)
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", exportTrailer)
	err := s.Export(reference, w)
	if err != nil {
		s.log.Warn("export", "err", err)
		w.Header().Set(exportTrailer, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	w.Header().Set(exportTrailer, "complete")
}

// Export writes an image of the store, with what is attached to it, as the tar archive of an OCI layout. docker load,
// skopeo, podman and Import read it.
func (s *Store) Export(reference string, w io.Writer) error {
	repo, d, err := s.find(reference)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	x := &exporter{store: s, out: out, done: map[digest.Digest]bool{}}
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err == nil {
		err = x.file(ocispec.ImageLayoutFile, int64(len(layout)), bytes.NewReader(layout))
	}
	if err == nil {
		err = x.manifest(d)
	}
	var index ocispec.Index
	if err == nil {
		desc, _, descErr := s.Manifest(d)
		r, refErr := ParseReference(reference)
		err = errors.Join(descErr, refErr)
		desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: d, Size: desc.Size}
		if r.Digest == "" {
			desc.Annotations = map[string]string{ocispec.AnnotationRefName: orDefaultTag(r), "io.containerd.image.name": r.Repository() + ":" + orDefaultTag(r)}
		}
		index = ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{desc}}
	}
	for _, referrer := range s.referrers(repo, d, "") {
		if err == nil {
			err = x.manifest(referrer.Digest)
			index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: referrer.MediaType, Digest: referrer.Digest, Size: referrer.Size})
		}
	}
	var data []byte
	if err == nil {
		data, err = json.Marshal(index)
	}
	if err == nil {
		err = x.file(ocispec.ImageIndexFile, int64(len(data)), bytes.NewReader(data))
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", reference, err)
	}
	return nil
}

type exporter struct {
	store *Store
	out   *tar.Writer
	done  map[digest.Digest]bool
}

func (x *exporter) file(name string, size int64, r io.Reader) error {
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
	if err := x.out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(x.out, r)
	return err
}

func (x *exporter) blob(d digest.Digest) error {
	if x.done[d] {
		return nil
	}
	x.done[d] = true
	f, size, err := x.store.blobs.open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	return x.file(path.Join(blobsFolder, d.Algorithm().String(), d.Encoded()), size, f)
}

func (x *exporter) manifest(d digest.Digest) error {
	desc, data, err := x.store.Manifest(d)
	if err != nil {
		return err
	}
	parsed, err := parseManifest(desc.MediaType, data)
	if err != nil {
		return err
	}
	for _, b := range parsed.blobs {
		if err := x.blob(b.Digest); err != nil {
			return err
		}
	}
	for _, child := range parsed.children {
		// An index that was pulled for this machine has only this machine's image.
		if err := x.manifest(child.Digest); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return x.blob(d)
}

// Import takes in the tar archive of an OCI layout or of docker save, and gives the names of the images in it.
// reference is the name for an image that brings none; it may be empty when all bring theirs.
func (s *Store) Import(ctx context.Context, reference string, r io.Reader) ([]string, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.layout.dir, uploadsFolder), "import-*")
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer removeTree(dir) //nolint:errcheck // else cleared at the next start
	im := &importer{store: s, dir: dir, given: reference}
	if err := im.unpack(ctx, r); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	var names []string
	switch {
	case im.has(ocispec.ImageIndexFile):
		names, err = im.layout(ctx)
	case im.has("manifest.json"):
		names, err = im.dockerSave(ctx)
	default:
		err = &invalidError{code: codeManifestInvalid, err: errors.New("the archive is neither an OCI image layout nor from docker save")}
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return names, nil
}

// importer has an archive unpacked in a folder of its own.
type importer struct {
	store *Store
	dir   string
	given string
}

// unpack writes the files of the archive; names are flattened first, so none can leave the folder.
func (im *importer) unpack(ctx context.Context, r io.Reader) error {
	plain, done, err := decompress(r)
	if err != nil {
		return err
	}
	defer done()
	for archive := tar.NewReader(plain); ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &invalidError{code: codeManifestInvalid, err: fmt.Errorf("read archive: %w", err)}
		}
		name, err := im.path(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = writeNew(name, archive)
			if err != nil && !errors.As(err, new(*fs.PathError)) && ctx.Err() == nil { // of the two only the archive has no path
				err = &invalidError{code: codeManifestInvalid, err: fmt.Errorf("read archive: %s: %w", h.Name, err)}
			}
		case tar.TypeSymlink, tar.TypeLink: // docker save names one layer twice
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(h.Name), h.Linkname)
			}
			var from string
			if from, err = im.path(target); err == nil {
				err = os.Link(from, name)
			}
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
}

func writeNew(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func (im *importer) path(name string) (string, error) {
	clean, err := entryPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(im.dir, strings.ReplaceAll(clean, "/", "%")), nil
}

func (im *importer) has(name string) bool {
	_, err := os.Stat(filepath.Join(im.dir, name))
	return err == nil
}

func (im *importer) read(name string) ([]byte, error) {
	p, err := im.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, &invalidError{code: codeManifestInvalid, err: fmt.Errorf("the archive lacks %s", name)}
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, manifestLimitBytes))
}

func blobName(d digest.Digest) string {
	return path.Join(blobsFolder, d.Algorithm().String(), d.Encoded())
}

// name gives repository and tag for an image: what the archive says, else what the request says.
func (im *importer) name(said ...string) (repo, tag string, err error) {
	for _, text := range append(said, im.given) {
		if text == "" {
			continue
		}
		r, err := ParseReference(text)
		if err != nil || r.Digest != "" {
			continue // a bare tag, as some tools write it
		}
		if r.Host == "" || slices.Contains(im.store.conf.Hosts, r.Host) {
			return r.Path, orDefaultTag(r), nil
		}
		return r.remote().Repository(), orDefaultTag(r), nil
	}
	return "", "", &invalidError{code: codeNameInvalid, err: errors.New("the archive does not name its image: give a name")}
}

func (im *importer) layout(ctx context.Context) ([]string, error) {
	data, err := im.read(ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, &invalidError{code: codeManifestInvalid, err: fmt.Errorf("index.json: %w", err)}
	}
	var names []string
	var repo string
	for _, d := range index.Manifests {
		content, err := im.read(blobName(d.Digest))
		if err != nil {
			return nil, err
		}
		parsed, err := parseManifest(d.MediaType, content)
		if err != nil {
			return nil, &invalidError{code: codeManifestInvalid, err: err}
		}
		var tags []string
		if parsed.subject == nil || repo == "" {
			var tag string
			if repo, tag, err = im.name(d.Annotations["io.containerd.image.name"], im.given, qualified(d.Annotations[ocispec.AnnotationRefName])); err != nil {
				return nil, err
			}
			tags, names = []string{tag}, append(names, repo+":"+tag)
		}
		if err := im.manifest(ctx, repo, d, tags, indexDepthLimit); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// qualified lets a reference name through that has more than a tag in it.
func qualified(refName string) string {
	if strings.Contains(refName, ":") {
		return refName
	}
	return ""
}

func (im *importer) manifest(ctx context.Context, repo string, d ocispec.Descriptor, tags []string, depth int) error {
	if err := d.Digest.Validate(); err != nil || depth == 0 {
		return &invalidError{code: codeManifestInvalid, err: fmt.Errorf("manifest %q: not a digest, or nested too deep", d.Digest)}
	}
	data, err := im.read(blobName(d.Digest))
	if err != nil {
		return err
	}
	if got := d.Digest.Algorithm().FromBytes(data); got != d.Digest {
		return &invalidError{code: codeDigestInvalid, err: fmt.Errorf("manifest %s has content with digest %s", d.Digest, got)}
	}
	parsed, err := parseManifest(d.MediaType, data)
	if err != nil {
		return &invalidError{code: codeManifestInvalid, err: err}
	}
	for _, b := range parsed.blobs {
		if err := im.blob(ctx, repo, blobName(b.Digest), b.Digest); err != nil {
			return err
		}
	}
	for _, child := range parsed.children {
		if p, err := im.path(blobName(child.Digest)); err == nil {
			if _, err := os.Stat(p); err != nil {
				continue // an image for another platform that was left out
			}
		}
		if err := im.manifest(ctx, repo, child, nil, depth-1); err != nil {
			return err
		}
	}
	_, err = im.store.putManifest(repo, d.MediaType, data, d.Digest, tags)
	return err
}

func (im *importer) blob(ctx context.Context, repo, name string, d digest.Digest) error {
	p, err := im.path(name)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return &invalidError{code: codeManifestBlobUnknown, err: fmt.Errorf("the archive lacks blob %s", d)}
	}
	defer f.Close()
	return im.store.PutBlob(ctx, repo, d, f)
}

// dockerSave takes in the older form, whose layers are plain archives and whose manifest has to be made.
func (im *importer) dockerSave(ctx context.Context) ([]string, error) {
	data, err := im.read("manifest.json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, &invalidError{code: codeManifestInvalid, err: fmt.Errorf("manifest.json: %w", err)}
	}
	var names []string
	for _, image := range list {
		repo, tag, err := im.name(append(slices.Clone(image.RepoTags), im.given)...)
		if err != nil {
			return nil, err
		}
		manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
		if manifest.Config, err = im.loose(ctx, repo, image.Config, ocispec.MediaTypeImageConfig); err != nil {
			return nil, err
		}
		for _, l := range image.Layers {
			layer, err := im.loose(ctx, repo, l, ocispec.MediaTypeImageLayer)
			if err != nil {
				return nil, err
			}
			manifest.Layers = append(manifest.Layers, layer)
		}
		data, err := json.Marshal(manifest)
		if err != nil {
			return nil, err
		}
		if _, err := im.store.PutManifest(repo, tag, ocispec.MediaTypeImageManifest, data); err != nil {
			return nil, err
		}
		names = append(names, repo+":"+tag)
	}
	return names, nil
}

// loose takes in a file that is not named by its digest.
func (im *importer) loose(ctx context.Context, repo, name, mediaType string) (ocispec.Descriptor, error) {
	p, err := im.path(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	f, err := os.Open(p)
	if err != nil {
		return ocispec.Descriptor{}, &invalidError{code: codeManifestBlobUnknown, err: fmt.Errorf("the archive lacks %s", name)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := digest.SHA256.FromReader(f)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: info.Size()}, im.blob(ctx, repo, name, d)
}
