package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
)

// Errors a caller branches on.
var (
	// ErrNotFound is returned for a repository, tag, manifest or blob that the store does not hold.
	ErrNotFound = errors.New("not found")
	// ErrDamaged is returned when content on disk does not match its digest. It has been set aside.
	ErrDamaged = errors.New("content on disk does not match its digest")
	// ErrInUse is returned when something cannot be removed because a manifest or a root file system needs it.
	ErrInUse = errors.New("in use")
	// ErrFull is returned when the store has reached Config.SizeLimitBytes and nothing can be collected.
	ErrFull = errors.New("image store is full")
)

// Config says where a Store keeps images and what it does with references.
type Config struct {
	// Dir is the store's folder. It is made if missing and belongs to the store alone.
	Dir string
	// Hosts are the registry names ("127.0.0.1:5000", "localhost:5000") that mean this store. A reference with such a
	// host, or without any, is looked up here first. They are remembered: a reference by digest, with a host of before, is looked up here too.
	Hosts []string
	// Aliases rewrite references before anything else, longest prefix first.
	Aliases []Alias
	// Remotes says how to talk to other registries; see Remotes.
	Remotes Remotes
	// Token, when not empty, is the password that Handler asks of everybody (any user name, HTTP basic).
	Token string
	// Roots gives the digests in use outside the store (revisions). Nil means that nobody knows: then no manifest is
	// collected, only blobs and unpacked layers that no manifest names.
	Roots func(context.Context) ([]digest.Digest, error)
	// GracePeriod is how long content without any use is kept; 0 means one hour.
	GracePeriod time.Duration
	// CollectEvery is the time between two collections by Run; 0 means ten minutes.
	CollectEvery time.Duration
	// SizeLimitBytes bounds the blobs on disk; 0 means no limit. Over it, uploads and pulls are refused with ErrFull.
	SizeLimitBytes int64
	// Limits bounds what unpacking a layer may write; zero fields have defaults.
	Limits UnpackLimits
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// Store is an image store. Make one with New, and close it.
type Store struct {
	conf   Config
	log    *slog.Logger
	layout *layout
	met    *metrics
	now    func() time.Time
	past   []string // hosts that meant this store once

	// mu guards the catalog and every decision whether a blob stays on disk.
	mu      sync.RWMutex
	catalog catalog

	blobs   blobStore
	uploads uploadTable
	rootfs  rootfsTable
	pulls   pullTable
	handler http.Handler

	closeOnce sync.Once
	closeErr  error
}

// New opens the image store in c.Dir, or makes it. It starts nothing.
func New(c Config) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("image store: no folder given")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.GracePeriod == 0 {
		c.GracePeriod = time.Hour
	}
	if c.CollectEvery == 0 {
		c.CollectEvery = 10 * time.Minute
	}
	l, err := openLayout(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{conf: c, log: c.Logger, layout: l, now: time.Now, met: newMetrics(c.Registerer)}
	s.blobs.layout = l
	if s.past, err = l.rememberHosts(c.Hosts); err == nil {
		err = s.open()
	}
	if err != nil {
		l.close()
		return nil, err
	}
	s.handler = s.newHandler()
	return s, nil
}

func (s *Store) open() error {
	cat, problems := loadCatalog(s.layout, s.readManifest)
	if cat == nil {
		return problems[0]
	}
	for _, err := range problems {
		s.log.Warn("image left out", "err", err)
	}
	s.catalog = cat
	if err := s.blobs.measure(); err != nil {
		return err
	}
	return s.openRootFS()
}

// Run collects garbage now and then, and syncs unpacked layers, until ctx ends.
func (s *Store) Run(ctx context.Context, ready func()) error {
	tick := time.NewTicker(s.conf.CollectEvery)
	defer tick.Stop()
	if ready != nil {
		ready()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.rootfs.unsynced:
			if err := s.syncLayers(); err != nil {
				s.log.Warn("unpacked layers are not synced", "err", err)
			}
		case <-tick.C:
			if _, err := s.Prune(ctx, PruneRequest{}); err != nil && ctx.Err() == nil {
				s.log.Error("image collection", "err", err)
			}
		}
	}
}

// Close gives the folder up; a second call does nothing. Open root file systems stay on disk.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.uploads.closeAll()
		s.closeErr = s.layout.close()
	})
	return s.closeErr
}

// Handler speaks the OCI distribution specification 1.1 over the store.
func (s *Store) Handler() http.Handler { return s.handler }

func (s *Store) readManifest(d ocispec.Descriptor) ([]byte, error) {
	return s.blobs.read(d.Digest, manifestLimitBytes)
}

// Manifest gives a manifest or index by its digest, with its media type.
func (s *Store) Manifest(d digest.Digest) (ocispec.Descriptor, []byte, error) {
	s.mu.RLock()
	var found *manifest
	for _, r := range s.catalog {
		if m := r.manifests[d]; m != nil {
			found = m
			break
		}
	}
	s.mu.RUnlock()
	if found == nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("manifest %s: %w", d, ErrNotFound)
	}
	data, err := s.readManifest(found.desc)
	return found.desc, data, err
}

// Blob opens a blob for reading; the caller closes it. Its content has been checked against the digest.
func (s *Store) Blob(d digest.Digest) (io.ReadSeekCloser, int64, error) {
	return s.blobs.open(d)
}

// PutBlob takes a blob into a repository. It returns when the blob is on disk.
func (s *Store) PutBlob(ctx context.Context, repo string, d digest.Digest, r io.Reader) error {
	u, err := s.uploads.create(s, repo)
	if err != nil {
		return err
	}
	if _, err := u.writeFrom(ctx, r); err != nil {
		s.uploads.cancel(u)
		return err
	}
	return s.commit(u, d)
}

// PutManifest takes a manifest or index into a repository, and tags it unless tag is empty. Every blob it names must
// be there already; the children of an index may be missing (a sparse index).
func (s *Store) PutManifest(repo, tag, mediaType string, data []byte) (digest.Digest, error) {
	return s.putManifest(repo, mediaType, data, digest.FromBytes(data), tagList(tag))
}

func tagList(tag string) []string {
	if tag == "" {
		return nil
	}
	return []string{tag}
}

func (s *Store) putManifest(repo, mediaType string, data []byte, d digest.Digest, tags []string) (digest.Digest, error) {
	parsed, err := parseManifest(mediaType, data)
	if err != nil {
		return "", &invalidError{code: codeManifestInvalid, err: err}
	}
	desc := ocispec.Descriptor{MediaType: parsed.mediaType, Digest: d, Size: int64(len(data))}
	if err := s.blobs.put(d, data); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.catalog.repository(repo)
	for _, b := range parsed.blobs {
		size, err := s.blobs.size(b.Digest)
		if err != nil {
			s.catalog.drop(repo)
			return "", &invalidError{code: codeManifestBlobUnknown, err: fmt.Errorf("manifest names blob %s, which is not here: %w", b.Digest, err)}
		}
		if size != b.Size {
			s.catalog.drop(repo)
			return "", &invalidError{code: codeManifestInvalid, err: fmt.Errorf("manifest says blob %s has %d bytes, it has %d", b.Digest, b.Size, size)}
		}
	}
	r.add(newManifest(desc, parsed, s.now()))
	for _, tag := range tags {
		r.tags[tag] = d
	}
	return d, s.catalog.save(s.layout)
}

// Tag makes tag of the repository mean the manifest d, which must be in that repository.
func (s *Store) Tag(repo, tag string, d digest.Digest) error {
	if !validTag(tag) {
		return fmt.Errorf("tag %q: a tag is letters, digits, '_', '.' and '-', at most 128, and starts with a letter, digit or '_'", tag)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.catalog[repo]
	if r == nil || r.manifests[d] == nil {
		return fmt.Errorf("tag %s:%s: manifest %s: %w", repo, tag, d, ErrNotFound)
	}
	r.tags[tag] = d
	return s.catalog.save(s.layout)
}
