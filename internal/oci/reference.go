package oci

import (
	"fmt"
	"net"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Reference is an image reference as people write it, taken apart: [host[:port]/]path[:tag][@digest].
type Reference struct {
	Host   string // registry host with its port; empty when the reference names none
	Path   string // repository within the registry
	Tag    string // empty when there is none, also when there is only a digest
	Digest digest.Digest
}

const (
	defaultTag        = "latest"
	dockerHub         = "docker.io"
	dockerHubRegistry = "registry-1.docker.io"
)

// ParseReference takes a reference apart and says what is wrong with it.
func ParseReference(text string) (Reference, error) {
	bad := func(format string, args ...any) (Reference, error) {
		return Reference{}, fmt.Errorf("image reference %q: %s", text, fmt.Sprintf(format, args...))
	}
	var r Reference
	rest, dig, hasDigest := strings.Cut(text, "@")
	if hasDigest {
		r.Digest = digest.Digest(dig)
		if err := r.Digest.Validate(); err != nil {
			return bad("%q is not a digest (sha256:<64 hex digits>)", dig)
		}
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		rest, r.Tag = rest[:i], rest[i+1:]
		if !validTag(r.Tag) {
			return bad("%q is not a tag", r.Tag)
		}
	}
	if first, path, ok := strings.Cut(rest, "/"); ok && isHost(first) {
		r.Host, rest = first, path
		if !validHost(r.Host) {
			return bad("%q is not a registry host", r.Host)
		}
	}
	r.Path = rest
	switch {
	case rest == "":
		return bad("it names no image")
	case !validRepository(rest) && validRepository(strings.ToLower(rest)):
		return bad("a repository name is lower case: try %q", strings.ToLower(rest))
	case !validRepository(rest):
		return bad("%q is not a repository name (lower case letters, digits, and '.', '_', '-', '/' between them)", rest)
	}
	return r, nil
}

// isHost says whether the first part of a reference is a registry, by the rule all clients follow.
func isHost(part string) bool {
	return part == "localhost" || strings.ContainsAny(part, ".:") || strings.HasPrefix(part, "[")
}

func validHost(host string) bool {
	name, port := host, "1"
	if strings.Contains(host, ":") {
		var err error
		if name, port, err = net.SplitHostPort(host); err != nil {
			return false
		}
	}
	if port == "" || strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return false
	}
	if strings.Contains(name, ":") {
		return net.ParseIP(name) != nil
	}
	return name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// Repository is the reference without tag and digest, as written.
func (r Reference) Repository() string {
	if r.Host == "" {
		return r.Path
	}
	return r.Host + "/" + r.Path
}

// String writes the reference; ParseReference gives it back.
func (r Reference) String() string {
	text := r.Repository()
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest.String()
	}
	return text
}

// remote gives the registry and repository a reference without a host means: Docker Hub, where official images are in
// "library".
func (r Reference) remote() Reference {
	if r.Host == "" {
		r.Host = dockerHub
	}
	if r.Host == "index.docker.io" || r.Host == dockerHubRegistry {
		r.Host = dockerHub
	}
	if r.Host == dockerHub && !strings.Contains(r.Path, "/") {
		r.Path = "library/" + r.Path
	}
	return r
}

// Alias makes references that begin with From mean the same with To in its place. A To that begins with a host of
// Config.Hosts makes them mean local images.
type Alias struct {
	From string // "gcr.io/knative-samples" or "registry.example.com"; matches whole path elements
	To   string // "127.0.0.1:5000/samples"
}

// rewrite applies the longest alias that matches.
func rewrite(aliases []Alias, r Reference) (Reference, error) {
	name := r.Repository()
	var best *Alias
	for i, a := range aliases {
		if name != a.From && !strings.HasPrefix(name, a.From+"/") {
			continue
		}
		if best == nil || len(a.From) > len(best.From) {
			best = &aliases[i]
		}
	}
	if best == nil {
		return r, nil
	}
	renamed, err := ParseReference(best.To + strings.TrimPrefix(name, best.From))
	if err != nil {
		return r, fmt.Errorf("alias from %q to %q: %w", best.From, best.To, err)
	}
	renamed.Tag, renamed.Digest = r.Tag, r.Digest
	return renamed, nil
}
