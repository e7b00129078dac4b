package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// PruneRequest says how thorough a collection is.
type PruneRequest struct {
	// Now collects what is unused without waiting for the grace period to pass. Uploads under way are kept.
	Now bool
	// DryRun only counts.
	DryRun bool
}

// PruneReport says what a collection removed, or would remove.
type PruneReport struct {
	Manifests  int   `json:"manifests"`
	Blobs      int   `json:"blobs"`
	BlobBytes  int64 `json:"blobBytes"`
	Layers     int   `json:"layers"` // unpacked
	LayerBytes int64 `json:"layerBytes"`
}

// Prune removes what nothing needs: manifests without a tag that are neither a root nor part of an index nor attached
// to a manifest that is kept, blobs that no manifest names, and unpacked layers of images that are gone.
func (s *Store) Prune(ctx context.Context, q PruneRequest) (PruneReport, error) {
	var report PruneReport
	before := s.now().Add(-s.conf.GracePeriod)
	if q.Now {
		before = s.now()
	}
	s.uploads.cancelIdle(s.now().Add(-24 * time.Hour))
	if s.conf.Roots != nil { // else nobody knows which manifests without a tag are in use
		roots, err := s.conf.Roots(ctx)
		if err != nil {
			return report, fmt.Errorf("collect images: which are in use: %w", err)
		}
		if err := s.pruneManifests(roots, before, q.DryRun, &report); err != nil {
			return report, err
		}
	}
	if !q.DryRun {
		s.forgetUploads(before)
	}
	if err := s.pruneBlobs(ctx, before, q.DryRun, &report); err != nil {
		return report, err
	}
	if err := s.pruneLayers(before, q.DryRun, &report); err != nil {
		return report, err
	}
	if !q.DryRun {
		s.met.freedBytes.Add(float64(report.BlobBytes + report.LayerBytes))
	}
	return report, nil
}

func (s *Store) pruneManifests(roots []digest.Digest, before time.Time, dry bool, report *PruneReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := map[digest.Digest]bool{}
	for _, d := range roots {
		root[d] = true
	}
	for _, d := range s.rootfs.imagesInUse() {
		root[d] = true
	}
	changed := false
	for name, r := range s.catalog {
		keep := r.reachable(root, before)
		for d := range r.manifests {
			if keep[d] {
				continue
			}
			report.Manifests++
			if !dry {
				r.remove(d)
				changed = true
			}
		}
		if !dry {
			s.catalog.drop(name)
		}
	}
	if !changed {
		return nil
	}
	return s.catalog.save(s.layout)
}

// forgetUploads lets go of blobs that came in and were not named by a manifest in time.
func (s *Store) forgetUploads(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.catalog {
		for d, at := range r.uploaded {
			if at.Before(before) {
				delete(r.uploaded, d)
			}
		}
		s.catalog.drop(name)
	}
}

// reachable marks the manifests of a repository that stay: tagged, rooted or young ones, what these indexes name, and
// what is attached to any of them.
func (r *repository) reachable(root map[digest.Digest]bool, before time.Time) map[digest.Digest]bool {
	keep := map[digest.Digest]bool{}
	var mark func(digest.Digest)
	mark = func(d digest.Digest) {
		m := r.manifests[d]
		if m == nil || keep[d] {
			return
		}
		keep[d] = true
		for _, child := range m.parsed.children {
			mark(child.Digest)
		}
	}
	for _, d := range r.tags {
		mark(d)
	}
	for d, m := range r.manifests {
		if root[d] || m.pushed.After(before) {
			mark(d)
		}
	}
	for again := true; again; {
		again = false
		for d, m := range r.manifests {
			if !keep[d] && m.parsed.subject != nil && keep[m.parsed.subject.Digest] {
				mark(d)
				again = true
			}
		}
	}
	return keep
}

// pruneBlobs walks the blobs on disk. Whether one goes is decided under the lock, one at a time, so that an upload or
// a mount of the same blob either keeps it or finds it gone.
func (s *Store) pruneBlobs(ctx context.Context, before time.Time, dry bool, report *PruneReport) error {
	return filepath.WalkDir(filepath.Join(s.layout.dir, blobsFolder), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), e.Name())
		if d.Validate() != nil {
			return nil // not ours; leave it
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		info, err := os.Stat(path)
		if err != nil || info.ModTime().After(before) || s.blobNeeded(d) {
			return nil //nolint:nilerr // gone in between
		}
		report.Blobs++
		report.BlobBytes += info.Size()
		if dry {
			return nil
		}
		_, err = s.blobs.remove(d)
		return err
	})
}

func (s *Store) blobNeeded(d digest.Digest) bool {
	for _, r := range s.catalog {
		if r.manifests[d] != nil || r.holds(d) {
			return true
		}
	}
	return false
}

func (t *rootfsTable) imagesInUse() []digest.Digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ds []digest.Digest
	for d := range t.images {
		ds = append(ds, d)
	}
	return ds
}

// pruneLayers removes unpacked layers that no image in the store has and nothing holds.
func (s *Store) pruneLayers(before time.Time, dry bool, report *PruneReport) error {
	needed, err := s.diffIDs()
	if err != nil {
		return err
	}
	t := &s.rootfs
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, l := range t.layers {
		if l.refs > 0 || needed[id] || l.used.After(before) {
			continue
		}
		report.Layers++
		report.LayerBytes += l.state.Bytes
		if dry {
			continue
		}
		// Renamed first: a crash in the middle of removing must not leave half a layer in its place.
		gone := filepath.Join(s.layout.dir, uploadsFolder, "gone-"+id.Encoded())
		if err := os.Rename(t.folder(id), gone); err != nil {
			return fmt.Errorf("remove unpacked layer %s: %w", id, err)
		}
		delete(t.layers, id)
		if err := errors.Join(os.Remove(t.folder(id)+".json"), removeTree(gone)); err != nil {
			return fmt.Errorf("remove unpacked layer %s: %w", id, err)
		}
	}
	return nil
}

// diffIDs gives the layers of all images in the store.
func (s *Store) diffIDs() (map[digest.Digest]bool, error) {
	s.mu.RLock()
	var all []*manifest
	for _, r := range s.catalog {
		for _, m := range r.manifests {
			if !m.parsed.isIndex {
				all = append(all, m)
			}
		}
	}
	s.mu.RUnlock()
	ids := map[digest.Digest]bool{}
	for _, m := range all {
		image, err := s.readImage(m.desc.Digest, m.parsed)
		if err != nil {
			continue // an artifact, or an image removed in between: it has no layers to keep
		}
		for _, l := range image.Layers {
			ids[l.DiffID] = true
		}
	}
	return ids, nil
}
