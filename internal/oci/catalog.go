package oci

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of the entries in the layout's index.json.
const (
	annotationRepository = "dev.fairlead.image.repository" // the repository that holds the manifest
	annotationPushed     = "dev.fairlead.image.pushed"     // when it came in, RFC 3339
)

// catalog says which repository holds which manifests, tags and blobs. It is index.json in memory; the store guards it
// with its lock.
type catalog map[string]*repository

type repository struct {
	manifests map[digest.Digest]*manifest
	tags      map[string]digest.Digest
	// uploaded holds blobs that came in and are (perhaps not yet) named by a manifest.
	uploaded map[digest.Digest]time.Time
	// used counts the manifests of this repository that name a blob.
	used map[digest.Digest]int
}

// manifest is what the catalog keeps of a manifest or index.
type manifest struct {
	desc   ocispec.Descriptor // with artifactType and annotations, as the referrers API shows it
	parsed parsedManifest
	pushed time.Time
}

func (c catalog) repository(name string) *repository {
	r := c[name]
	if r == nil {
		r = &repository{
			manifests: map[digest.Digest]*manifest{}, tags: map[string]digest.Digest{},
			uploaded: map[digest.Digest]time.Time{}, used: map[digest.Digest]int{},
		}
		c[name] = r
	}
	return r
}

// drop forgets a repository that holds nothing.
func (c catalog) drop(name string) {
	if r := c[name]; r != nil && len(r.manifests) == 0 && len(r.uploaded) == 0 {
		delete(c, name)
	}
}

func (r *repository) add(m *manifest) {
	if old := r.manifests[m.desc.Digest]; old != nil {
		old.pushed = m.pushed
		return
	}
	r.manifests[m.desc.Digest] = m
	for _, b := range m.parsed.blobs {
		r.used[b.Digest]++
	}
}

// remove takes a manifest and its tags out of the repository.
func (r *repository) remove(d digest.Digest) bool {
	m := r.manifests[d]
	if m == nil {
		return false
	}
	delete(r.manifests, d)
	for _, b := range m.parsed.blobs {
		if r.used[b.Digest]--; r.used[b.Digest] == 0 {
			delete(r.used, b.Digest)
			r.uploaded[b.Digest] = m.pushed
		}
	}
	maps.DeleteFunc(r.tags, func(_ string, tagged digest.Digest) bool { return tagged == d })
	return true
}

// holds says whether the repository gives out this blob.
func (r *repository) holds(d digest.Digest) bool {
	if r == nil {
		return false
	}
	_, uploaded := r.uploaded[d]
	return uploaded || r.used[d] > 0
}

func (r *repository) tagNames() []string { return slices.Sorted(maps.Keys(r.tags)) }

// index writes the catalog as the layout's index: one entry for each tag, one for each manifest without a tag.
func (c catalog) index() *ocispec.Index {
	index := &ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		r := c[name]
		tagged := map[digest.Digest]bool{}
		for _, tag := range r.tagNames() {
			m := r.manifests[r.tags[tag]]
			tagged[m.desc.Digest] = true
			index.Manifests = append(index.Manifests, m.entry(name, name+":"+tag))
		}
		for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
			if !tagged[d] {
				index.Manifests = append(index.Manifests, r.manifests[d].entry(name, ""))
			}
		}
	}
	return index
}

func (m *manifest) entry(repository, refName string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: m.desc.MediaType, Digest: m.desc.Digest, Size: m.desc.Size}
	d.Annotations = map[string]string{
		annotationRepository: repository, annotationPushed: m.pushed.UTC().Format(time.RFC3339),
	}
	if refName != "" {
		d.Annotations[ocispec.AnnotationRefName] = refName
	}
	return d
}

// loadCatalog reads index.json and every manifest it names.
func loadCatalog(l *layout, read func(ocispec.Descriptor) ([]byte, error)) (catalog, []error) {
	c := catalog{}
	index, err := l.readIndex()
	if err != nil {
		return nil, []error{err}
	}
	var damaged []error
	for _, entry := range index.Manifests {
		name := entry.Annotations[annotationRepository]
		if err := entry.Digest.Validate(); err != nil || name == "" {
			damaged = append(damaged, fmt.Errorf("index.json: entry %q of repository %q left out", entry.Digest, name))
			continue
		}
		data, err := read(entry)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("manifest of %s: %w", name, err))
			continue
		}
		parsed, err := parseManifest(entry.MediaType, data)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("manifest %s of %s: %w", entry.Digest, name, err))
			continue
		}
		pushed, _ := time.Parse(time.RFC3339, entry.Annotations[annotationPushed]) // unknown counts as long ago
		r := c.repository(name)
		r.add(newManifest(entry, parsed, pushed))
		if tag, ok := strings.CutPrefix(entry.Annotations[ocispec.AnnotationRefName], name+":"); ok {
			r.tags[tag] = entry.Digest
		}
	}
	return c, damaged
}

func newManifest(d ocispec.Descriptor, parsed parsedManifest, pushed time.Time) *manifest {
	return &manifest{
		desc: ocispec.Descriptor{
			MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
			ArtifactType: parsed.artifactType, Annotations: parsed.annotations,
		},
		parsed: parsed, pushed: pushed,
	}
}

// save writes the catalog to disk. The store's lock is held.
func (c catalog) save(l *layout) error {
	data, err := json.Marshal(c.index())
	if err != nil {
		return err
	}
	if err := l.writeFile(ocispec.ImageIndexFile, data); err != nil {
		return fmt.Errorf("image store: write index.json: %w", err)
	}
	return nil
}
