package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Remotes says how other registries are reached.
type Remotes struct {
	// PlainHTTP lists hosts that are spoken to without TLS. Loopback addresses always may be.
	PlainHTTP []string
	// CertDirs are searched for <host>/*.crt, authorities to trust for that host besides the system's; nil means those
	// of docker and podman, /etc/docker/certs.d and /etc/containers/certs.d.
	CertDirs []string
	// Mirrors are tried in the place of a registry.
	Mirrors []Mirror
	// AuthFiles are read for logins; nil means where docker and podman keep theirs.
	AuthFiles []string
	// Transport replaces the network in tests; nil means the network.
	Transport http.RoundTripper
}

// Mirror sends pulls of repositories below Prefix to other places first.
type Mirror struct {
	Prefix string // "docker.io" or "docker.io/library"
	// Endpoints take the place of Prefix: "mirror.example.com/hub", "http://127.0.0.1:5001". Tried in order; then the
	// registry itself.
	Endpoints []string
}

var (
	// ErrUnreachable is returned when a registry cannot be reached at all; it is not tried again.
	ErrUnreachable = errors.New("registry cannot be reached")
	// ErrUnauthorized is returned when a registry refuses the login, or wants one.
	ErrUnauthorized = errors.New("registry refuses access")
)

var errNotPlain = errors.New("not spoken to without TLS: list it as a plain HTTP registry if that is meant")

// origin is one place a repository can be fetched from, with a client that is logged in there.
type origin struct {
	base   string // https://host/v2/path
	name   string // host/path, for messages
	client *http.Client
}

// origins lists the places for a repository, mirrors first.
func (s *Store) endpoints(r Reference) []string {
	full := r.Repository()
	var best *Mirror
	for i, m := range s.conf.Remotes.Mirrors {
		if full == m.Prefix || strings.HasPrefix(full, m.Prefix+"/") {
			if best == nil || len(m.Prefix) > len(best.Prefix) {
				best = &s.conf.Remotes.Mirrors[i]
			}
		}
	}
	var all []string
	if best != nil {
		for _, e := range best.Endpoints {
			all = append(all, strings.TrimSuffix(e, "/")+strings.TrimPrefix(full, best.Prefix))
		}
	}
	return append(all, full)
}

func (s *Store) connect(ctx context.Context, endpoint string, given []Credential) (*origin, error) {
	endpoint, plain := strings.CutPrefix(endpoint, "http://")
	endpoint = strings.TrimPrefix(endpoint, "https://")
	host, _, _ := strings.Cut(endpoint, "/")
	plain = plain || slices.Contains(s.conf.Remotes.PlainHTTP, host) || isLoopback(host)
	var options []name.Option
	if plain {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(endpoint, options...)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", endpoint, err)
	}
	credential, err := s.credentialFor(ctx, given, endpoint)
	if err != nil {
		return nil, err
	}
	auth := authn.Anonymous
	if credential.Username != "" || credential.IdentityToken != "" {
		auth = authn.FromConfig(authn.AuthConfig{
			Username: credential.Username, Password: credential.Password, IdentityToken: credential.IdentityToken,
		})
	}
	base := s.conf.Remotes.Transport
	if base == nil {
		if base, err = s.pulls.transport(host, s.conf.Remotes.CertDirs); err != nil {
			return nil, err
		}
	}
	guarded := &schemeGuard{base: base, plain: plain, host: repo.RegistryStr()}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, guarded, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, remoteError(endpoint, err)
	}
	// The transport above picks the scheme that answered.
	return &origin{
		base: "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr(), name: endpoint,
		client: &http.Client{Transport: t},
	}, nil
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// schemeGuard keeps requests to a registry on TLS unless plain HTTP was asked for.
type schemeGuard struct {
	base  http.RoundTripper
	plain bool
	host  string
}

func (g *schemeGuard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.plain && !isLoopback(r.URL.Host) {
		return nil, fmt.Errorf("%s: %w", r.URL.Host, errNotPlain)
	}
	return g.base.RoundTrip(r)
}

// newTransport is a transport for one registry host, with its own certificate authorities.
func newTransport(host string, certDirs []string) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = time.Minute
	t.DisableCompression = true // blobs are served as they are
	if certDirs == nil {
		certDirs = []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	}
	var pool *x509.CertPool
	for _, dir := range certDirs {
		files, err := filepath.Glob(filepath.Join(dir, host, "*.crt"))
		if err != nil {
			return nil, fmt.Errorf("certificates for %s: %w", host, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("certificates for %s: %w", host, err)
			}
			if pool == nil {
				if pool, err = x509.SystemCertPool(); err != nil {
					pool = x509.NewCertPool()
				}
			}
			if !pool.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("certificates for %s: %s has no PEM certificate", host, file)
			}
		}
	}
	if pool != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

var acceptedManifests = []string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, mediaTypeDockerManifestList, mediaTypeDockerManifest,
}

// manifest fetches a manifest by tag or digest and checks it.
func (o *origin) manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	var desc ocispec.Descriptor
	var data []byte
	err := retry(ctx, func() error {
		header := http.Header{"Accept": {strings.Join(acceptedManifests, ", ")}}
		resp, err := o.get(ctx, o.base+"/manifests/"+reference, header)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if data, err = io.ReadAll(io.LimitReader(resp.Body, manifestLimitBytes+1)); err != nil {
			return &temporaryError{err: err}
		}
		desc.MediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
		return nil
	})
	if err != nil {
		return desc, nil, fmt.Errorf("manifest %s of %s: %w", reference, o.name, err)
	}
	desc.Digest, desc.Size = digest.FromBytes(data), int64(len(data))
	if want, err := digest.Parse(reference); err == nil {
		if desc.Digest = want.Algorithm().FromBytes(data); desc.Digest != want {
			return desc, nil, fmt.Errorf("manifest %s of %s: the registry sent content with digest %s", reference, o.name, desc.Digest)
		}
	}
	if strings.HasPrefix(desc.MediaType, "application/vnd.docker.distribution.manifest.v1+") {
		return desc, nil, fmt.Errorf("manifest %s of %s has Docker's schema 1, which no tool supports any more: push the image again", reference, o.name)
	}
	return desc, data, nil
}

// get does one request and turns what went wrong into an error that says whether another try makes sense.
func (o *origin) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, remoteError(o.name, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only for the message
	return nil, statusError(o.name, resp, strings.TrimSpace(string(body)))
}

func statusError(name string, resp *http.Response, body string) error {
	err := fmt.Errorf("registry answers %s %s", resp.Status, body)
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("%s: %w: %w", name, ErrUnauthorized, err)
	case code == http.StatusTooManyRequests || code >= 500:
		t := &temporaryError{err: err}
		if seconds, parseErr := strconv.Atoi(resp.Header.Get("Retry-After")); parseErr == nil {
			t.after = min(time.Duration(seconds)*time.Second, retryAfterLimit)
		}
		return t
	}
	return err
}

// remoteError sorts the errors of connecting and logging in.
func remoteError(name string, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	var status *transport.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("%s: %w: %w", name, ErrUnreachable, dns)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s: %w: %w", name, ErrUnreachable, op)
	case errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%s: %w: %w", name, ErrUnauthorized, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &certificate), errors.Is(err, errNotPlain), errors.As(err, &status) && !status.Temporary():
		return fmt.Errorf("%s: %w", name, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no value for it
		return fmt.Errorf("%s: %w", name, errNotPlain)
	}
	return &temporaryError{err: fmt.Errorf("%s: %w", name, err)}
}

// temporaryError is one after which the same request may work.
type temporaryError struct {
	err   error
	after time.Duration // what the registry asked to wait; zero means the usual
}

func (e *temporaryError) Error() string { return e.err.Error() }
func (e *temporaryError) Unwrap() error { return e.err }

const (
	retryTries      = 5
	retryFirst      = 200 * time.Millisecond
	retryAfterLimit = 30 * time.Second
)

// retry does f until it works, fails for good, or has failed retryTries times.
func retry(ctx context.Context, f func() error) error {
	wait := retryFirst
	for try := 1; ; try++ {
		err := f()
		var temporary *temporaryError
		if err == nil || !errors.As(err, &temporary) || try == retryTries {
			return err
		}
		timer := time.NewTimer(max(wait, temporary.after))
		wait *= 3
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}
