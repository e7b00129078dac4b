package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// hostBase as Request.Base means this machine's own interpreter in place of a base image.
const hostBase = "host"

// baseImage finds the image to build on: a file of this machine, or a reference, which the daemon is asked for first,
// because it has images without a network and keeps what it pulls.
func (j *job) baseImage(ctx context.Context, base string, platform Platform) (v1.Image, error) {
	if dir, ok := strings.CutPrefix(base, "oci:"); ok {
		return onlyImage(dir)
	}
	if why, err := detectArchive(base); err == nil && why != "" {
		return j.openArchive(base)
	}
	if _, err := oci.ParseReference(base); err != nil {
		return nil, fmt.Errorf("base image: %w", err)
	}
	image, fromDaemon := j.baseFromDaemon(ctx, base, platform)
	if fromDaemon == nil {
		return image, nil
	}
	if errors.Is(fromDaemon, oci.ErrUnreachable) { // by this machine, whoever asks
		return nil, fmt.Errorf("base image %s: %w", base, fromDaemon)
	}
	image, err := j.baseFromRegistry(ctx, base, platform)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", base, errors.Join(fromDaemon, err))
	}
	return image, nil
}

func platformOf(p Platform) v1.Platform {
	goos, arch, _ := strings.Cut(p, "/")
	return v1.Platform{OS: goos, Architecture: arch}
}

var errNoRegistry = errors.New("no daemon to ask")

// baseFromDaemon has the daemon pull the base and reads it from there, so that pushing the result sends only new layers.
func (j *job) baseFromDaemon(ctx context.Context, base string, platform Platform) (v1.Image, error) {
	if j.Registry == "" {
		return nil, errNoRegistry
	}
	j.say("base", "%s", base)
	pulled, err := oci.NewClient(oci.ClientConfig{Registry: j.Registry, Token: j.RegistryToken}).Pull(ctx, oci.PullRequest{Reference: base}, nil)
	if err != nil {
		return nil, err
	}
	repo, err := name.NewRepository(j.Registry+"/"+pulled.Repository, name.Insecure)
	if err != nil {
		return nil, err
	}
	return remote.Image(repo.Digest(pulled.Digest.String()), remote.WithContext(ctx), remote.WithPlatform(platformOf(platform)), remote.WithAuth(registryAuth(j.RegistryToken)))
}

func (j *job) baseFromRegistry(ctx context.Context, base string, platform Platform) (v1.Image, error) {
	ref, err := name.ParseReference(base)
	if err != nil {
		return nil, err
	}
	options := []remote.Option{
		remote.WithRetryBackoff(remote.Backoff{Duration: 300 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 2}), remote.WithContext(ctx), remote.WithPlatform(platformOf(platform)), remote.WithAuthFromKeychain(authn.DefaultKeychain),
	}
	head, err := remote.Head(ref, options...)
	if err != nil {
		return nil, err
	}
	key := keyOf("base", head.Digest.String(), platform)
	if image, ok := j.cachedImage(key); ok {
		return image, nil
	}
	image, err := remote.Image(ref.Context().Digest(head.Digest.String()), options...)
	if err != nil || j.CacheDir == "" {
		return image, err
	}
	j.say("base", "fetching %s", base)
	temp, err := j.tempDir()
	if err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := writeLayout(filepath.Join(temp, "image"), image); err != nil {
		return nil, err
	}
	return j.keepImage(key, filepath.Join(temp, "image"))
}

func registryAuth(token string) authn.Authenticator {
	if token == "" {
		return authn.Anonymous
	}
	return &authn.Basic{Username: "fairlead", Password: token}
}
