package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// adminPrefix is where the registry answers what the distribution specification has no words for. Described in
// docs/reference/registry.md.
const adminPrefix = "/fairlead/v1/images"

// Summary is one manifest in a list of images.
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
		list = append(list, s.catalog[name].summaries(name)...)
	}
	return list
}

func (r *repository) summaries(name string) []Summary {
	tags := map[digest.Digest][]string{}
	for _, tag := range r.tagNames() {
		tags[r.tags[tag]] = append(tags[r.tags[tag]], tag)
	}
	var list []Summary
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
	slices.SortFunc(list, func(a, b Summary) int {
		if c := a.Pushed.Compare(b.Pushed); c != 0 {
			return c
		}
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	return list
}

// Details says everything about one image.
type Details struct {
	Summary
	Platform  string               `json:"platform,omitempty"`
	Config    *ocispec.Image       `json:"config,omitempty"`
	Layers    []Layer              `json:"layers,omitempty"`
	Children  []ocispec.Descriptor `json:"manifests,omitempty"` // of an index
	Referrers []ocispec.Descriptor `json:"referrers,omitempty"`
}

// find gives the repository and digest of an image of the store, by a reference as people write it. Nothing is pulled.
func (s *Store) find(reference string) (repo string, d digest.Digest, err error) {
	asked, err := ParseReference(reference)
	if err != nil {
		return "", "", &invalidError{code: codeNameInvalid, err: err}
	}
	r, err := rewrite(s.conf.Aliases, asked)
	if err != nil {
		return "", "", &invalidError{code: codeNameInvalid, err: err}
	}
	for _, name := range s.localNames(r, slices.Contains(s.conf.Hosts, r.Host)) {
		if desc, err := s.lookup(name.name, orDefaultTag(r), r.Digest); err == nil {
			return name.name, desc.Digest, nil
		}
	}
	return "", "", fmt.Errorf("image %s: %w on this machine", reference, ErrNotFound)
}

// Inspect gives the details of an image of the store.
func (s *Store) Inspect(reference string) (Details, error) {
	repo, d, err := s.find(reference)
	if err != nil {
		return Details{}, err
	}
	var out Details
	s.mu.RLock()
	r := s.catalog[repo]
	if r == nil || r.manifests[d] == nil {
		s.mu.RUnlock()
		return out, fmt.Errorf("image %s: %w on this machine", reference, ErrNotFound)
	}
	parsed := r.manifests[d].parsed
	for _, line := range r.summaries(repo) {
		if line.Digest == d {
			out.Summary = line
		}
	}
	s.mu.RUnlock()
	out.Referrers = s.referrers(repo, d, "")
	if out.Children = parsed.children; parsed.isIndex || parsed.subject != nil {
		return out, nil
	}
	image, err := s.readImage(d, parsed)
	if err != nil {
		return out, err
	}
	out.Config, out.Layers, out.Platform = &image.Config, image.Layers, image.Config.OS+"/"+image.Config.Architecture
	return out, nil
}

// Remove takes an image out of the store: the tag if the reference has one (or none at all, which means latest), or the
// manifest with all its tags if it has a digest. Content goes with the next collection.
func (s *Store) Remove(reference string) error {
	repo, d, err := s.find(reference)
	if err != nil {
		return err
	}
	r, err := ParseReference(reference)
	if err != nil {
		return err
	}
	if r.Digest == "" {
		return s.removeTag(repo, orDefaultTag(r))
	}
	return s.removeManifest(repo, d)
}

// TagAs gives an image of the store one more name, also in another repository of this machine.
func (s *Store) TagAs(source, target string) error {
	repo, d, err := s.find(source)
	if err != nil {
		return err
	}
	r, err := ParseReference(target)
	if err != nil || r.Digest != "" {
		return &invalidError{code: codeNameInvalid, err: errors.Join(err, fmt.Errorf("image name %q: a new name is <repository>:<tag>", target))}
	}
	name := r.Path
	if !slices.Contains(s.conf.Hosts, r.Host) && r.Host != "" {
		name = r.Repository()
	}
	if err := s.copyManifest(repo, name, d, indexDepthLimit); err != nil {
		return err
	}
	return s.Tag(name, orDefaultTag(r), d)
}

// copyManifest makes a manifest, and what it names, also one of another repository.
func (s *Store) copyManifest(from, to string, d digest.Digest, depth int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.catalog[from]
	if source == nil || source.manifests[d] == nil {
		return fmt.Errorf("manifest %s of %s: %w", d, from, ErrNotFound)
	}
	var add func(digest.Digest, int)
	add = func(d digest.Digest, depth int) {
		m := source.manifests[d]
		if m == nil || depth == 0 { // an image of an index that is for another platform, and not here
			return
		}
		s.catalog.repository(to).add(newManifest(m.desc, m.parsed, s.now()))
		for _, child := range m.parsed.children {
			add(child.Digest, depth-1)
		}
	}
	add(d, depth)
	return s.catalog.save(s.layout)
}

// PullRequest is the body of a request to pull.
type PullRequest struct {
	Reference string `json:"reference"`
	Policy    Policy `json:"policy,omitempty"`
}

// PullEvent is one line of the answer to it: progress, and at the end the result or the error.
type PullEvent struct {
	Progress *PullProgress `json:"progress,omitempty"`
	Pulled   *Pulled       `json:"pulled,omitempty"`
	Error    string        `json:"error,omitempty"`
	// Unreachable says that the error is that the other registry cannot be reached.
	Unreachable bool `json:"unreachable,omitempty"`
}

// Pulled says where in the registry a pulled image is.
type Pulled struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Local      bool          `json:"local"` // it was here already
}

func (s *Store) serveAdmin(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	reference := query.Get("reference")
	var err error
	switch route := r.Method + " " + strings.TrimPrefix(r.URL.Path, adminPrefix); route {
	case "GET ":
		writeJSON(w, "application/json", s.List())
	case "GET /inspect":
		var d Details
		if d, err = s.Inspect(reference); err == nil {
			writeJSON(w, "application/json", d)
		}
	case "POST /tag":
		err = s.TagAs(reference, query.Get("target"))
	case "POST /remove":
		err = s.Remove(reference)
	case "POST /prune":
		var report PruneReport
		report, err = s.Prune(r.Context(), PruneRequest{Now: query.Get("now") == "true", DryRun: query.Get("dry-run") == "true"})
		if err == nil {
			writeJSON(w, "application/json", report)
		}
	case "POST /pull":
		s.servePull(w, r)
	case "GET /export":
		s.serveExport(w, reference)
	case "POST /import":
		var names []string
		if names, err = s.Import(r.Context(), reference, r.Body); err == nil {
			writeJSON(w, "application/json", names)
		}
	default:
		s.refuse(w, http.StatusNotFound, codeUnsupported, fmt.Errorf("there is no %s", route))
	}
	if err != nil {
		s.answer(w, err, codeManifestUnknown)
	}
}

// servePull answers with a line of JSON for each step, because a pull takes a while.
func (s *Store) servePull(w http.ResponseWriter, r *http.Request) {
	var q PullRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil {
		s.refuse(w, http.StatusBadRequest, codeManifestInvalid, fmt.Errorf("pull: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	events := make(chan PullEvent, 64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out := json.NewEncoder(w)
		for e := range events {
			_ = out.Encode(e) // a client that is gone cancels the request's context
			_ = http.NewResponseController(w).Flush()
		}
	}()
	resolved, err := s.Resolve(r.Context(), ResolveRequest{
		Reference: q.Reference, Policy: q.Policy,
		Progress: func(p PullProgress) {
			select {
			case events <- PullEvent{Progress: &p}:
			default: // the client reads slowly; it will hear the next one
			}
		},
	})
	last := PullEvent{}
	if err == nil {
		last.Pulled = &Pulled{Digest: resolved.Digest, Local: resolved.Local}
		last.Pulled.Repository, _, err = s.find(resolved.String())
	}
	if err != nil {
		last = PullEvent{Error: err.Error(), Unreachable: errors.Is(err, ErrUnreachable)}
	}
	events <- last
	close(events)
	<-ended
}
