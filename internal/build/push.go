package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PushOptions says how to reach the registry an image is pushed to.
type PushOptions struct {
	// PlainHTTP speaks to it without TLS.
	PlainHTTP bool
	// Token is the registry's token, if it asks for one.
	Token string
	// Transport replaces the default one; nil is fine.
	Transport http.RoundTripper
	// Progress is told how many bytes of how many were sent; it may be nil.
	Progress func(done, total int64)
}

// Push takes a result to a registry under a reference such as "127.0.0.1:5000/hello:latest", with its SBOM attached as
// a referrer. Layers that the registry has already are not sent.
func Push(ctx context.Context, r Result, reference string, o PushOptions) error {
	var nameOptions []name.Option
	if o.PlainHTTP {
		nameOptions = append(nameOptions, name.Insecure)
	}
	ref, err := name.ParseReference(reference, nameOptions...)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(registryAuth(o.Token))}
	if o.Transport != nil {
		options = append(options, remote.WithTransport(o.Transport))
	}
	if err := pushContent(r, ref, options, o.Progress); err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	if r.SBOM == nil {
		return nil
	}
	if err := attach(r, ref, options); err != nil {
		return fmt.Errorf("push the SBOM of %s: %w", reference, err)
	}
	return nil
}

func pushContent(r Result, ref name.Reference, options []remote.Option, progress func(done, total int64)) error {
	if progress != nil {
		updates := make(chan v1.Update, 16)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for u := range updates { // closed by what writes below
				if u.Error == nil {
					progress(u.Complete, u.Total)
				}
			}
		}()
		defer func() { <-ended }()
		options = append(options[:len(options):len(options)], remote.WithProgress(updates))
	}
	if r.Index != nil {
		return remote.WriteIndex(ref, r.Index, options...)
	}
	return remote.Write(ref, r.Image, options...)
}

// attach pushes the SBOM as an artifact whose subject is the image.
func attach(r Result, ref name.Reference, options []remote.Option) error {
	subject, err := subjectOf(r)
	if err != nil {
		return err
	}
	a := &artifact{document: static.NewLayer(r.SBOM, spdxMediaType)}
	if a.manifest, err = a.makeManifest(subject); err != nil {
		return err
	}
	image, err := partial.CompressedToImage(a)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return remote.Write(ref.Context().Digest(digest.String()), image, options...)
}

func subjectOf(r Result) (*v1.Descriptor, error) {
	if r.Index != nil {
		return partial.Descriptor(r.Index)
	}
	return partial.Descriptor(r.Image)
}

// artifact is an OCI artifact with one document and the empty configuration (image specification, section on
// artifacts).
type artifact struct {
	document v1.Layer
	manifest []byte
}

func (a *artifact) makeManifest(subject *v1.Descriptor) ([]byte, error) {
	doc, err := partial.Descriptor(a.document)
	if err != nil {
		return nil, err
	}
	convert := func(d *v1.Descriptor) ocispec.Descriptor {
		var out ocispec.Descriptor
		data, marshalErr := json.Marshal(d)
		if marshalErr == nil {
			marshalErr = json.Unmarshal(data, &out)
		}
		err = marshalErr
		return out
	}
	layer, about := convert(doc), convert(&v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest})
	if err != nil {
		return nil, err
	}
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: spdxMediaType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &about,
	})
}

func (a *artifact) RawConfigFile() ([]byte, error)      { return ocispec.DescriptorEmptyJSON.Data, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if want, err := a.document.Digest(); err != nil || h != want {
		return emptyConfig{}, err
	}
	return a.document, nil
}

// emptyConfig is the blob {} as a layer, which is how go-containerregistry pushes a configuration.
type emptyConfig struct{}

func (emptyConfig) Digest() (v1.Hash, error) {
	return v1.NewHash(ocispec.DescriptorEmptyJSON.Digest.String())
}
func (emptyConfig) Size() (int64, error) { return ocispec.DescriptorEmptyJSON.Size, nil }
func (emptyConfig) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(ocispec.DescriptorEmptyJSON.Data)), nil
}
func (emptyConfig) MediaType() (types.MediaType, error) { return ocispec.MediaTypeEmptyJSON, nil }
