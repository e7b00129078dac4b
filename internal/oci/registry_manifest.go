package oci

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (s *Store) serveManifest(w http.ResponseWriter, r *http.Request, e endpoint) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete) {
		return
	}
	d, digestErr := digest.Parse(e.arg)
	if digestErr != nil {
		d = "" // then it is a tag
	}
	if d == "" && !validTag(e.arg) {
		s.refuse(w, http.StatusBadRequest, codeManifestInvalid, fmt.Errorf("reference %q is neither a tag nor a digest", e.arg))
		return
	}
	switch r.Method {
	case http.MethodPut:
		s.receiveManifest(w, r, e, d)
	case http.MethodDelete:
		s.deleteManifest(w, e, d)
	default:
		s.sendManifest(w, r, e, d)
	}
}

func (s *Store) sendManifest(w http.ResponseWriter, r *http.Request, e endpoint, d digest.Digest) {
	desc, err := s.lookup(e.repo, e.arg, d)
	if err != nil {
		s.answer(w, err, codeManifestUnknown)
		return
	}
	data, err := s.readManifest(desc)
	if err != nil {
		s.answer(w, err, codeManifestUnknown)
		return
	}
	w.Header().Set("Content-Type", desc.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	w.Header().Set("Etag", `"`+desc.Digest.String()+`"`)
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) // the client is gone if this does not work
	}
}

// lookup finds a manifest of a repository by tag, or by digest when d is not empty.
func (s *Store) lookup(repo, tag string, d digest.Digest) (ocispec.Descriptor, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rep := s.catalog[repo]
	if rep == nil {
		return ocispec.Descriptor{}, fmt.Errorf("repository %s: %w", repo, ErrNotFound)
	}
	if d == "" {
		d = rep.tags[tag]
	}
	m := rep.manifests[d]
	if m == nil {
		return ocispec.Descriptor{}, fmt.Errorf("repository %s, manifest %s: %w", repo, tag, ErrNotFound)
	}
	return m.desc, nil
}

func (s *Store) receiveManifest(w http.ResponseWriter, r *http.Request, e endpoint, d digest.Digest) {
	data, err := io.ReadAll(io.LimitReader(r.Body, manifestLimitBytes+1))
	if err != nil {
		s.refuse(w, http.StatusBadRequest, codeManifestInvalid, fmt.Errorf("read manifest: %w", err))
		return
	}
	if len(data) > manifestLimitBytes {
		s.refuse(w, http.StatusRequestEntityTooLarge, codeManifestInvalid, fmt.Errorf("the limit for a manifest is %d bytes", manifestLimitBytes))
		return
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		mediaType = "" // then the manifest must say it
	}
	tags := r.URL.Query()["tag"] // more tags at once, when pushed by digest
	if d == "" {
		tags = append(tags, e.arg)
		d = digest.FromBytes(data)
	} else if got := d.Algorithm().FromBytes(data); got != d {
		s.refuse(w, http.StatusBadRequest, codeDigestInvalid, fmt.Errorf("manifest has digest %s, not %s", got, d))
		return
	}
	for _, tag := range tags {
		if !validTag(tag) {
			s.refuse(w, http.StatusBadRequest, codeManifestInvalid, fmt.Errorf("tag %q is not valid", tag))
			return
		}
	}
	if _, err := s.putManifest(e.repo, mediaType, data, d, tags); err != nil {
		s.answer(w, err, codeManifestUnknown)
		return
	}
	s.mu.RLock()
	subject := s.subjectOf(e.repo, d)
	s.mu.RUnlock()
	if subject != "" {
		w.Header().Set("OCI-Subject", subject.String())
	}
	for _, tag := range tags {
		w.Header().Add("OCI-Tag", tag)
	}
	w.Header().Set("Location", "/v2/"+e.repo+"/manifests/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

func (s *Store) subjectOf(repo string, d digest.Digest) digest.Digest {
	if r := s.catalog[repo]; r != nil && r.manifests[d] != nil && r.manifests[d].parsed.subject != nil {
		return r.manifests[d].parsed.subject.Digest
	}
	return ""
}

func (s *Store) deleteManifest(w http.ResponseWriter, e endpoint, d digest.Digest) {
	var err error
	if d == "" {
		err = s.removeTag(e.repo, e.arg)
	} else {
		err = s.removeManifest(e.repo, d)
	}
	if err != nil {
		s.answer(w, err, codeManifestUnknown)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Store) removeTag(repo, tag string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.catalog[repo]
	if r == nil || r.tags[tag] == "" {
		return fmt.Errorf("tag %s:%s: %w", repo, tag, ErrNotFound)
	}
	delete(r.tags, tag)
	return s.catalog.save(s.layout)
}

func (s *Store) removeManifest(repo string, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.catalog[repo]
	if r == nil || !r.remove(d) {
		return fmt.Errorf("repository %s, manifest %s: %w", repo, d, ErrNotFound)
	}
	s.catalog.drop(repo)
	return s.catalog.save(s.layout)
}

// page cuts a sorted list as the query's n and last ask, and names the next page in a Link header.
func page(w http.ResponseWriter, r *http.Request, all []string) ([]string, error) {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if !query.Has("n") {
		return all, nil
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("n=%q is not a count", query.Get("n"))
	}
	if n < len(all) {
		all = all[:n]
		if n > 0 {
			next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}.Encode()}
			w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
		}
	}
	return all, nil
}

func (s *Store) serveTags(w http.ResponseWriter, r *http.Request, e endpoint) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	s.mu.RLock()
	rep := s.catalog[e.repo]
	tags := []string{}
	if rep != nil {
		tags = append(tags, rep.tagNames()...)
	}
	s.mu.RUnlock()
	if rep == nil {
		s.refuse(w, http.StatusNotFound, codeNameUnknown, fmt.Errorf("no repository %s", e.repo))
		return
	}
	tags, err := page(w, r, tags)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, codeUnsupported, err)
		return
	}
	writeJSON(w, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{e.repo, tags})
}

func (s *Store) serveCatalog(w http.ResponseWriter, r *http.Request) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	s.mu.RLock()
	names := slices.Sorted(maps.Keys(s.catalog))
	s.mu.RUnlock()
	names = slices.DeleteFunc(names, func(n string) bool { return !validRepository(n) })
	names, err := page(w, r, append([]string{}, names...))
	if err != nil {
		s.refuse(w, http.StatusBadRequest, codeUnsupported, err)
		return
	}
	writeJSON(w, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{names})
}

func (s *Store) serveReferrers(w http.ResponseWriter, r *http.Request, e endpoint) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	subject, err := digest.Parse(e.arg)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, codeDigestInvalid, errors.New("referrers are asked for by digest: "+err.Error()))
		return
	}
	want := r.URL.Query().Get("artifactType")
	if want != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: s.referrers(e.repo, subject, want),
	}
	writeJSON(w, ocispec.MediaTypeImageIndex, index)
}

func (s *Store) referrers(repo string, subject digest.Digest, artifactType string) []ocispec.Descriptor {
	found := []ocispec.Descriptor{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.catalog[repo]
	if r == nil {
		return found
	}
	for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
		m := r.manifests[d]
		if m.parsed.subject == nil || m.parsed.subject.Digest != subject {
			continue
		}
		if artifactType == "" || m.desc.ArtifactType == artifactType {
			found = append(found, m.desc)
		}
	}
	return found
}
