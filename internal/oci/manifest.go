package oci

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's names for what the image specification calls image manifest, image index and layers.
const (
	mediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	mediaTypeDockerSchema1      = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

const manifestLimitBytes = 8 << 20 // twice what the distribution specification asks a registry to take

// parsedManifest is what an image manifest or an image index names.
type parsedManifest struct {
	mediaType    string
	isIndex      bool
	config       ocispec.Descriptor
	layers       []ocispec.Descriptor
	blobs        []ocispec.Descriptor // config and layers that a registry must hold
	children     []ocispec.Descriptor // of an index
	subject      *ocispec.Descriptor
	artifactType string
	annotations  map[string]string
}

func isIndexType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediaTypeDockerManifestList
}

func isManifestType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == mediaTypeDockerManifest
}

// parseManifest checks and takes apart a manifest. mediaType may be empty: then the document's own is believed.
func parseManifest(mediaType string, data []byte) (parsedManifest, error) {
	var doc struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		ArtifactType  string               `json:"artifactType"`
		Config        *ocispec.Descriptor  `json:"config"`
		Layers        []ocispec.Descriptor `json:"layers"`
		Manifests     []ocispec.Descriptor `json:"manifests"`
		Subject       *ocispec.Descriptor  `json:"subject"`
		Annotations   map[string]string    `json:"annotations"`
	}
	if len(data) > manifestLimitBytes {
		return parsedManifest{}, fmt.Errorf("manifest of %d bytes: the limit is %d", len(data), manifestLimitBytes)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return parsedManifest{}, fmt.Errorf("manifest is not JSON of the image specification: %w", err)
	}
	if mediaType == "" {
		mediaType = doc.MediaType
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return parsedManifest{}, fmt.Errorf("manifest says it is %q, but was called %q", doc.MediaType, mediaType)
	}
	p := parsedManifest{mediaType: mediaType, subject: doc.Subject, artifactType: doc.ArtifactType, annotations: doc.Annotations}
	switch {
	case doc.SchemaVersion != 2:
		return parsedManifest{}, fmt.Errorf("manifest has schemaVersion %d: only 2 is known", doc.SchemaVersion)
	case isIndexType(mediaType):
		if doc.Config != nil || doc.Layers != nil {
			return parsedManifest{}, errors.New("index has a config or layers, which only an image manifest may")
		}
		p.isIndex, p.children = true, doc.Manifests
	case isManifestType(mediaType):
		if doc.Config == nil || doc.Manifests != nil {
			return parsedManifest{}, errors.New("image manifest has no config, or names manifests, which only an index may")
		}
		p.config, p.layers = *doc.Config, doc.Layers
		if p.artifactType == "" {
			p.artifactType = doc.Config.MediaType
		}
		p.blobs = append(p.blobs, p.config)
		for _, l := range doc.Layers {
			if !isForeign(l) {
				p.blobs = append(p.blobs, l)
			}
		}
	default:
		return parsedManifest{}, fmt.Errorf("media type %q is neither an image manifest nor an index", mediaType)
	}
	return p, p.check()
}

func (p *parsedManifest) check() error {
	all := append(append([]ocispec.Descriptor{}, p.layers...), p.children...)
	if !p.isIndex {
		all = append(all, p.config)
	}
	if p.subject != nil {
		all = append(all, *p.subject)
	}
	for _, d := range all {
		if err := d.Digest.Validate(); err != nil {
			return fmt.Errorf("descriptor %q: %w", d.Digest, err)
		}
		if d.Size < 0 {
			return fmt.Errorf("descriptor %s has size %d", d.Digest, d.Size)
		}
	}
	return nil
}

// isForeign says whether a layer is one that a registry need not hold.
func isForeign(d ocispec.Descriptor) bool {
	switch d.MediaType {
	case ocispec.MediaTypeImageLayerNonDistributable, //nolint:staticcheck // deprecated, still met
		ocispec.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck
		ocispec.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck
		mediaTypeDockerForeignLayer:
		return true
	}
	return false
}

// references gives every digest the manifest needs: blobs and children, not its subject.
func (p *parsedManifest) references() []digest.Digest {
	var ds []digest.Digest
	for _, d := range p.blobs {
		ds = append(ds, d.Digest)
	}
	for _, d := range p.children {
		ds = append(ds, d.Digest)
	}
	return ds
}
