package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// PullProgress is how far the pull of one blob is.
type PullProgress struct {
	Blob  digest.Digest
	Bytes int64 // here already
	Total int64
}

// pullTable holds what is being pulled, so that two who want the same wait for one transfer.
type pullTable struct {
	mu         sync.Mutex // guards flights and transports
	flights    map[string]*flight
	transports map[string]http.RoundTripper
}

type flight struct {
	done   chan struct{}
	digest digest.Digest
	err    error
}

const blobsAtOnce = 3 // of one image

func (t *pullTable) transport(host string, certDirs []string) (http.RoundTripper, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.transports[host]; known != nil {
		return known, nil
	}
	made, err := newTransport(host, certDirs)
	if err != nil {
		return nil, err
	}
	if t.transports == nil {
		t.transports = map[string]http.RoundTripper{}
	}
	t.transports[host] = made
	return made, nil
}

// once does f for a key, or waits for the one who is at it. Should that one be cancelled, the next takes over.
func (t *pullTable) once(ctx context.Context, key string, f func() (digest.Digest, error)) (digest.Digest, error) {
	for {
		t.mu.Lock()
		fl := t.flights[key]
		if fl == nil {
			fl = &flight{done: make(chan struct{})}
			if t.flights == nil {
				t.flights = map[string]*flight{}
			}
			t.flights[key] = fl
			t.mu.Unlock()
			fl.digest, fl.err = f()
			t.mu.Lock()
			delete(t.flights, key)
			t.mu.Unlock()
			close(fl.done)
			return fl.digest, fl.err
		}
		t.mu.Unlock()
		select {
		case <-fl.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		if !errors.Is(fl.err, context.Canceled) && !errors.Is(fl.err, context.DeadlineExceeded) {
			return fl.digest, fl.err
		}
	}
}

// pull brings an image of another registry into the store and gives its digest.
func (s *Store) pull(ctx context.Context, r Reference, q ResolveRequest) (digest.Digest, error) {
	key := r.String()
	for _, c := range q.Credentials { // two who log in differently do not share a result
		key += "\x00" + c.Scope + "\x00" + c.Username + "\x00" + fmt.Sprintf("%x", sha256.Sum256([]byte(c.Password+c.IdentityToken)))
	}
	d, err := s.pulls.once(ctx, key, func() (digest.Digest, error) {
		var failed []error
		for _, endpoint := range s.endpoints(r) {
			d, err := s.pullFrom(ctx, endpoint, r, q)
			if err == nil {
				return d, nil
			}
			failed = append(failed, err)
			if ctx.Err() != nil {
				break
			}
		}
		return "", errors.Join(failed...)
	})
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	return d, nil
}

func (s *Store) pullFrom(ctx context.Context, endpoint string, r Reference, q ResolveRequest) (digest.Digest, error) {
	var o *origin
	err := retry(ctx, func() (err error) {
		o, err = s.connect(ctx, endpoint, slices.Clone(q.Credentials))
		return err
	})
	if err != nil {
		return "", err
	}
	reference := r.Digest.String()
	if reference == "" {
		reference = orDefaultTag(r)
	}
	desc, data, err := o.manifest(ctx, reference)
	if err != nil {
		return "", err
	}
	repo := r.Repository()
	parsed, err := parseManifest(desc.MediaType, data)
	if err != nil {
		return "", fmt.Errorf("manifest %s of %s: %w", reference, o.name, err)
	}
	if err := s.pullContent(ctx, o, repo, parsed, q, indexDepthLimit); err != nil {
		return "", err
	}
	var tags []string
	if r.Digest == "" {
		tags = []string{orDefaultTag(r)}
	}
	_, err = s.putManifest(repo, desc.MediaType, data, desc.Digest, tags)
	return desc.Digest, err
}

// pullContent fetches what a manifest names; of an index, the image for this machine.
func (s *Store) pullContent(ctx context.Context, o *origin, repo string, parsed parsedManifest, q ResolveRequest, depth int) error {
	if !parsed.isIndex {
		return s.pullBlobs(ctx, o, repo, parsed, q)
	}
	if depth == 0 {
		return fmt.Errorf("%s: indexes are nested more than %d deep", o.name, indexDepthLimit)
	}
	child, err := choosePlatform(parsed.children, ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	desc, data, err := o.manifest(ctx, child.Digest.String())
	if err != nil {
		return err
	}
	inner, err := parseManifest(child.MediaType, data)
	if err != nil {
		return fmt.Errorf("manifest %s of %s: %w", child.Digest, o.name, err)
	}
	if err := s.pullContent(ctx, o, repo, inner, q, depth-1); err != nil {
		return err
	}
	_, err = s.putManifest(repo, child.MediaType, data, desc.Digest, nil)
	return err
}

func (s *Store) pullBlobs(ctx context.Context, o *origin, repo string, parsed parsedManifest, q ResolveRequest) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blobsAtOnce)
	for _, b := range parsed.blobs {
		group.Go(func() error {
			report := func(n int64) {
				if q.Progress != nil {
					q.Progress(PullProgress{Blob: b.Digest, Bytes: n, Total: b.Size})
				}
			}
			_, err := s.pulls.once(ctx, "blob "+b.Digest.String(), func() (digest.Digest, error) {
				return b.Digest, s.pullBlob(ctx, o, b, report)
			})
			if err != nil {
				return err
			}
			report(b.Size)
			return s.link(repo, b.Digest)
		})
	}
	return group.Wait()
}

// link makes a blob that is here one of a repository.
func (s *Store) link(repo string, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.blobs.refresh(d) {
		return fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	s.catalog.repository(repo).uploaded[d] = s.now()
	return nil
}

// pullBlob fetches one blob unless it is here. What an earlier try got is kept and gone on from.
func (s *Store) pullBlob(ctx context.Context, o *origin, b ocispec.Descriptor, report func(int64)) error {
	s.mu.Lock()
	here := s.blobs.refresh(b.Digest) // under the lock: collection cannot take it away now
	s.mu.Unlock()
	if here {
		return nil
	}
	if limit := s.conf.SizeLimitBytes; limit > 0 && s.blobs.totalBytes.Load()+b.Size > limit {
		return fmt.Errorf("blob %s of %d bytes: %w: %d of %d bytes are used", b.Digest, b.Size, ErrFull, s.blobs.totalBytes.Load(), limit)
	}
	path := filepath.Join(s.layout.dir, uploadsFolder, pullPrefix+b.Digest.Encoded())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	defer f.Close()
	p := &partial{file: f, sum: b.Digest.Algorithm().Hash(), want: b, report: report}
	if err := p.reopen(); err != nil {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	err = retry(ctx, func() error { return p.fetch(ctx, o) })
	if err != nil {
		return fmt.Errorf("blob %s of %s after %d of %d bytes: %w", b.Digest, o.name, p.have, b.Size, err)
	}
	if got := digest.NewDigest(b.Digest.Algorithm(), p.sum); got != b.Digest {
		os.Remove(path)
		return fmt.Errorf("blob %s of %s: the registry sent content with digest %s", b.Digest, o.name, got)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	s.met.pullBytes.Add(float64(p.have))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs.adopt(path, b.Digest, p.have)
}

const pullPrefix = "pull-"

// partial is a blob of which a part is here.
type partial struct {
	file   *os.File
	sum    hash.Hash
	have   int64
	want   ocispec.Descriptor
	report func(int64)
}

// reopen takes up what is in the file.
func (p *partial) reopen() error {
	n, err := io.Copy(p.sum, p.file)
	if err != nil {
		return err
	}
	if n >= p.want.Size { // it was whole or wrong
		return p.restart()
	}
	p.have = n
	return nil
}

func (p *partial) restart() error {
	p.have = 0
	p.sum.Reset()
	return p.file.Truncate(0)
}

// fetch asks for the rest, and keeps what comes also when the connection breaks.
func (p *partial) fetch(ctx context.Context, o *origin) error {
	header := http.Header{}
	if p.have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", p.have))
	}
	resp, err := o.get(ctx, o.base+"/blobs/"+p.want.Digest.String(), header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if p.have > 0 && (resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", p.have))) {
		if err := p.restart(); err != nil { // the registry sends everything again
			return err
		}
	}
	// One byte more than there should be tells that there is too much.
	body := &reportingReader{r: io.LimitReader(resp.Body, p.want.Size-p.have+1), have: p.have, report: p.report}
	n, err := copyHashed(ctx, p.file, p.sum, body, p.have)
	p.have += n
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.have > p.want.Size:
		return errors.Join(fmt.Errorf("the registry sends more than %d bytes", p.want.Size), p.restart())
	case err != nil:
		return &temporaryError{err: err}
	case p.have < p.want.Size:
		return &temporaryError{err: io.ErrUnexpectedEOF}
	}
	return nil
}

type reportingReader struct {
	r      io.Reader
	have   int64
	told   int64
	report func(int64)
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.have += int64(n)
	if r.have-r.told >= copyBytes {
		r.told = r.have
		r.report(r.have)
	}
	return n, err
}

// complete checks that everything a local image names is on disk. What is missing (a damaged blob was set aside) is
// pulled again when the image came from another registry.
func (s *Store) complete(ctx context.Context, r Reference, d digest.Digest, own bool, q ResolveRequest) error {
	missing := s.missing(ctx, d)
	if missing == nil {
		return nil
	}
	if own || q.Policy == Never {
		return fmt.Errorf("image %s@%s: %w: build or push it again", r.Repository(), d, missing)
	}
	again := r.remote()
	again.Tag, again.Digest = "", d
	_, err := s.pull(ctx, again, q)
	return err
}

func (s *Store) missing(ctx context.Context, d digest.Digest) error {
	image, err := s.Image(ctx, d)
	if err != nil {
		return err
	}
	for _, l := range image.Layers {
		if _, err := s.blobs.size(l.Digest); err != nil && !isForeign(l.Descriptor) {
			return err
		}
	}
	return nil
}
