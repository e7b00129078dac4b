package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Policy says when a reference is asked of its registry. The values are those of a container's imagePullPolicy.
type Policy string

// The policies; the empty one is IfNotPresent.
const (
	IfNotPresent Policy = "IfNotPresent" // what is here is used; the rest is pulled
	Always       Policy = "Always"       // the registry is asked each time what the tag means now
	Never        Policy = "Never"        // only what is here is used
)

// ResolveRequest asks what a reference means.
type ResolveRequest struct {
	// Reference is the image as the user wrote it.
	Reference string
	// Policy is used for references to other registries; local images are always taken as they are.
	Policy Policy
	// Credentials are tried before those of Config, as image pull secrets are.
	Credentials []Credential
	// Progress, when not nil, is told how a pull goes. It is called from several goroutines.
	Progress func(PullProgress)
}

// Resolved is a reference pinned to content that is in the store.
type Resolved struct {
	// Repository is the reference as the user wrote it, without tag and digest.
	Repository string
	// Digest is that of the manifest or index the reference means.
	Digest digest.Digest
	// Local says that the image was here already.
	Local bool
}

// String is the pinned reference, <repository>@<digest>, which Resolve finds again.
func (r Resolved) String() string { return r.Repository + "@" + r.Digest.String() }

// Resolve pins a reference to a digest, and pulls the image when the policy says so. A reference without a registry,
// or with one of Config.Hosts, is looked up locally first; so is one by digest whose registry was among Config.Hosts once. The error
// wraps ErrNotFound when there is no such image.
func (s *Store) Resolve(ctx context.Context, q ResolveRequest) (Resolved, error) {
	asked, err := ParseReference(q.Reference)
	if err != nil {
		return Resolved{}, err
	}
	if q.Policy != "" && q.Policy != IfNotPresent && q.Policy != Always && q.Policy != Never {
		return Resolved{}, fmt.Errorf("image pull policy %q: use IfNotPresent, Always or Never", q.Policy)
	}
	r, err := rewrite(s.conf.Aliases, asked)
	if err != nil {
		return Resolved{}, err
	}
	res := Resolved{Repository: asked.Repository(), Local: true}
	own := slices.Contains(s.conf.Hosts, r.Host)
	for _, repo := range s.localNames(r, own) {
		// A tag of another registry may have moved there; asking is what Always is for.
		if q.Policy == Always && repo.pulled && r.Digest == "" {
			continue
		}
		desc, err := s.lookup(repo.name, orDefaultTag(r), r.Digest)
		if err == nil {
			res.Digest = desc.Digest
			return res, s.complete(ctx, r, desc.Digest, own || repo.name == r.Path && s.wasOwn(r), q)
		}
		if !errors.Is(err, ErrNotFound) {
			return Resolved{}, err
		}
	}
	switch {
	case own:
		return Resolved{}, fmt.Errorf("image %s: %w in the registry of this machine: build or push it first", asked, ErrNotFound)
	case q.Policy == Never:
		return Resolved{}, fmt.Errorf("image %s: %w on this machine, and the pull policy is Never", asked, ErrNotFound)
	}
	res.Local = false
	res.Digest, err = s.pull(ctx, r.remote(), q)
	if err != nil && slices.Contains(s.past, r.Host) {
		err = &movedError{err, r.Host, s.conf.Hosts}
	}
	return res, err
}

func orDefaultTag(r Reference) string {
	if r.Tag == "" && r.Digest == "" {
		return defaultTag
	}
	return r.Tag
}

type localName struct {
	name   string
	pulled bool // the repository is a copy of another registry's
}

// localNames lists the repositories of the catalog where a reference may be found, best first.
func (s *Store) localNames(r Reference, own bool) []localName {
	if own {
		return []localName{{name: r.Path}}
	}
	var names []localName
	if r.Host == "" || s.wasOwn(r) {
		names = append(names, localName{name: r.Path})
	}
	return append(names, localName{name: r.remote().Repository(), pulled: true})
}
