package oci

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// adminPrefix is where the registry answers what the distribution specification has no words for. Listed and
// described in docs/reference/registry.md.
const adminPrefix = "/fairlead/v1/images"

// Summary is one line of a list of images.
type Summary struct {
	Repository string        `json:"repository"`
	Tags       []string      `json:"tags,omitempty"`
	Digest     digest.Digest `json:"digest"`
	MediaType  string        `json:"mediaType"`
	// Bytes is what the manifest and the blobs it names take, packed; shared ones count for each.
	Bytes  int64     `json:"bytes"`
	Pushed time.Time `json:"pushed"`
	// ArtifactType and Subject are set for what is attached to an image, such as an SBOM.
	ArtifactType string        `json:"artifactType,omitempty"`
	Subject      digest.Digest `json:"subject,omitempty"`
}

// List gives every manifest of the store, by repository and then by time.
func (s *Store) List() []Summary {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []Summary{}
	for _, name := range slices.Sorted(maps.Keys(s.catalog)) {
		r := s.catalog[name]
		tags := map[digest.Digest][]string{}
		for _, tag := range r.tagNames() {
			tags[r.tags[tag]] = append(tags[r.tags[tag]], tag)
		}
		start := len(list)
		for d, m := range r.manifests {
			line := Summary{
				Repository: name, Tags: tags[d], Digest: d, MediaType: m.desc.MediaType, Bytes: m.desc.Size, Pushed: m.pushed,
			}
			for _, b := range m.parsed.blobs {
				line.Bytes += b.Size
			}
			if m.parsed.subject != nil {
				line.Subject, line.ArtifactType = m.parsed.subject.Digest, m.desc.ArtifactType
			}
			list = append(list, line)
		}
		slices.SortFunc(list[start:], func(a, b Summary) int {
			if c := a.Pushed.Compare(b.Pushed); c != 0 {
				return c
			}
			if a.Digest < b.Digest {
				return -1
			}
			return 1
		})
	}
	return list
}

func (s *Store) serveAdmin(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != adminPrefix {
		s.refuse(w, http.StatusNotFound, codeUnsupported, errors.New("no such endpoint"))
		return
	}
	if s.allow(w, r, http.MethodGet, http.MethodHead) {
		writeJSON(w, "application/json", s.List())
	}
}
