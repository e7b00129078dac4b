package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const configLimitBytes = 8 << 20

// Image is one image for one platform.
type Image struct {
	// Digest is the digest of the image's own manifest. It differs from what was asked for when that was an index.
	Digest digest.Digest
	// Config is the image's configuration: entry point, environment, user, labels.
	Config ocispec.Image
	// Layers are the layers from the base upwards.
	Layers []Layer
	// Annotations are those of the manifest.
	Annotations map[string]string
}

// Layer is one layer of an image.
type Layer struct {
	ocispec.Descriptor               // the compressed blob
	DiffID             digest.Digest // the digest of the uncompressed archive
}

// Image gives the image with a digest; of an index, the one for this machine (linux on its architecture).
func (s *Store) Image(ctx context.Context, d digest.Digest) (*Image, error) {
	return s.imageFor(ctx, d, ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

func (s *Store) imageFor(ctx context.Context, d digest.Digest, want ocispec.Platform) (*Image, error) {
	for range indexDepthLimit {
		desc, data, err := s.Manifest(d)
		if err != nil {
			return nil, err
		}
		parsed, err := parseManifest(desc.MediaType, data)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", d, err)
		}
		if !parsed.isIndex {
			return s.readImage(d, parsed)
		}
		child, err := choosePlatform(parsed.children, want)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", d, err)
		}
		d = child.Digest
	}
	return nil, fmt.Errorf("image %s: indexes are nested more than %d deep", d, indexDepthLimit)
}

const indexDepthLimit = 4

func (s *Store) readImage(d digest.Digest, parsed parsedManifest) (*Image, error) {
	data, err := s.blobs.read(parsed.config.Digest, configLimitBytes)
	if err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", d, err)
	}
	image := &Image{Digest: d, Annotations: parsed.annotations}
	if err := json.Unmarshal(data, &image.Config); err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", d, err)
	}
	ids := image.Config.RootFS.DiffIDs
	if len(ids) != len(parsed.layers) {
		return nil, fmt.Errorf("%s is not a runnable image: it has %d layers, and its configuration lists %d", d, len(parsed.layers), len(ids))
	}
	for i, l := range parsed.layers {
		if err := ids[i].Validate(); err != nil {
			return nil, fmt.Errorf("configuration of image %s: diff ID %q: %w", d, ids[i], err)
		}
		image.Layers = append(image.Layers, Layer{Descriptor: l, DiffID: ids[i]})
	}
	return image, nil
}

// choosePlatform picks the image of an index that runs on a platform. Images that say no platform are taken last.
func choosePlatform(children []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	var have []string
	var fallback *ocispec.Descriptor
	for i, c := range children {
		switch {
		case c.Platform == nil:
			if fallback == nil {
				fallback = &children[i]
			}
		case c.Platform.OS == want.OS && c.Platform.Architecture == want.Architecture:
			return c, nil
		default:
			have = append(have, c.Platform.OS+"/"+c.Platform.Architecture)
		}
	}
	if fallback != nil {
		return *fallback, nil
	}
	if len(children) == 0 {
		return ocispec.Descriptor{}, errors.New("the index names no images")
	}
	return ocispec.Descriptor{}, fmt.Errorf("there is none for %s/%s, only for %v", want.OS, want.Architecture, have)
}
