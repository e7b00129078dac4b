package oci_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// upstream is another registry: a store of its own behind whatever the test puts before it.
type upstream struct {
	store *oci.Store
	host  string
}

func startUpstream(t *testing.T, token string, before func(http.Handler) http.Handler) upstream {
	t.Helper()
	s, err := oci.New(oci.Config{Dir: t.TempDir(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	handler := s.Handler()
	if before != nil {
		handler = before(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return upstream{s, strings.TrimPrefix(server.URL, "http://")}
}

// open gives a store that pulls, without the logins of whoever runs the test.
func open(t *testing.T, c oci.Config) *oci.Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.Remotes.AuthFiles == nil {
		c.Remotes.AuthFiles = []string{}
	}
	c.Hosts = []string{"own.test:5000"}
	s, err := oci.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func resolve(t *testing.T, s *oci.Store, reference string, policy oci.Policy) oci.Resolved {
	t.Helper()
	r, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: reference, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(content string) ocitest.Spec {
	return ocitest.Spec{Files: map[string]string{"file": content}}
}

func TestPullAndPolicies(t *testing.T) {
	up := startUpstream(t, "", nil)
	old := ocitest.Add(t, up.store, "team/app", "v1", text("old"))
	s := open(t, oci.Config{})
	name := up.host + "/team/app"
	if _, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: name + ":v1", Policy: oci.Never}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("policy Never gives %v", err)
	}
	if got := resolve(t, s, name+":v1", ""); got.Digest != old || got.Local || got.Repository != name {
		t.Errorf("first pull gives %+v, want digest %s", got, old)
	}
	newer := ocitest.Add(t, up.store, "team/app", "v1", text("new"))
	for _, step := range []struct {
		reference string
		policy    oci.Policy
		want      digest.Digest
		local     bool
	}{
		{name + ":v1", oci.IfNotPresent, old, true},
		{name + "@" + old.String(), oci.Always, old, true},
		{name + ":v1", oci.Always, newer, false},
		{name + ":v1", oci.Never, newer, true},
		{name + "@" + newer.String(), oci.IfNotPresent, newer, true},
	} {
		if got := resolve(t, s, step.reference, step.policy); got.Digest != step.want || got.Local != step.local {
			t.Errorf("%s with %s gives %+v, want %s and local %v", step.reference, step.policy, got, step.want, step.local)
		}
	}
	root, err := s.RootFS(t.Context(), newer)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if data, err := os.ReadFile(filepath.Join(root.Lower[0], "file")); err != nil || string(data) != "new" {
		t.Errorf("the file has %q, %v", data, err)
	}
	if _, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: up.host + "/team/none"}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("an image that does not exist gives %v", err)
	}
}

func TestPullGoesOnWhereItBroke(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<17) // packs badly enough after the salt below
	var salted strings.Builder
	for i := 0; i < len(content); i += 64 {
		sum := digest.FromString(fmt.Sprint(i))
		salted.WriteString(sum.Encoded())
	}
	var sent, ranges atomic.Int64
	up := startUpstream(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				ranges.Add(1)
			}
			if strings.Contains(r.URL.Path, "/blobs/") {
				w = &cutWriter{ResponseWriter: w, left: 600_000, sent: &sent}
			}
			next.ServeHTTP(w, r)
		})
	})
	d := ocitest.Add(t, up.store, "big", "latest", text(salted.String()))
	s := open(t, oci.Config{})
	if got := resolve(t, s, up.host+"/big", ""); got.Digest != d {
		t.Errorf("pulled %s, want %s", got.Digest, d)
	}
	image, err := s.Image(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	size := image.Layers[0].Size
	if size < 1_000_000 || ranges.Load() == 0 || sent.Load() > size+size/2 {
		t.Errorf("a layer of %d bytes took %d bytes and %d ranged requests", size, sent.Load(), ranges.Load())
	}
}

// cutWriter breaks the connection after some bytes of a body.
type cutWriter struct {
	http.ResponseWriter
	left int
	sent *atomic.Int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		n, _ := c.ResponseWriter.Write(p[:c.left])
		c.sent.Add(int64(n))
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	c.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func TestPullOnceForMany(t *testing.T) {
	var blobs atomic.Int64
	up := startUpstream(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				blobs.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	ocitest.Add(t, up.store, "app", "latest", text("x"))
	s := open(t, oci.Config{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: up.host + "/app"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := blobs.Load(); n != 2 {
		t.Errorf("20 pulls of one image fetched %d blobs, want 2", n)
	}
}

func TestLogins(t *testing.T) {
	up := startUpstream(t, "pa:ss", nil)
	d := ocitest.Add(t, up.store, "team/private", "latest", text("x"))
	reference := up.host + "/team/private"
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:pa:ss"))
	config := func(scope string) string { return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, scope, auth) }
	secret, err := oci.ParseCredentials([]byte(config("http://" + up.host + "/v2/")))
	if err != nil {
		t.Fatal(err)
	}
	helper := write("docker-credential-test", "#!/bin/sh\nread server\n[ \"$server\" = "+up.host+" ] || exit 1\necho '{\"Username\":\"me\",\"Secret\":\"pa:ss\"}'\n", 0o755)
	t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
	for name, c := range map[string]struct {
		file  string
		given []oci.Credential
		want  error
	}{
		"none":                {want: oci.ErrUnauthorized},
		"wrong":               {given: []oci.Credential{{Scope: up.host, Username: "me", Password: "x"}}, want: oci.ErrUnauthorized},
		"for another host":    {file: config("other.example"), want: oci.ErrUnauthorized},
		"pull secret":         {given: secret},
		"file":                {file: config(up.host)},
		"file, for a team":    {file: config(up.host + "/team")},
		"file, another team":  {file: config(up.host + "/te"), want: oci.ErrUnauthorized},
		"helper for the host": {file: fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, up.host)},
		"helper for all":      {file: `{"credsStore":"test"}`},
	} {
		t.Run(name, func(t *testing.T) {
			conf := oci.Config{}
			if c.file != "" {
				conf.Remotes.AuthFiles = []string{"/nonexistent", write("config.json", c.file, 0o600)}
			}
			got, err := open(t, conf).Resolve(t.Context(), oci.ResolveRequest{Reference: reference, Credentials: c.given})
			if !errors.Is(err, c.want) || c.want == nil && got.Digest != d {
				t.Errorf("got %v, %v, want error %v", got, err, c.want)
			}
		})
	}
}

// TestBearerLogin goes through a token service, as the large registries have it.
func TestBearerLogin(t *testing.T) {
	var host string
	up := startUpstream(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				user, password, _ := r.BasicAuth()
				if user != "me" || password != "secret" || r.URL.Query().Get("scope") != "repository:app:pull" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				io.WriteString(w, `{"token":"t0ken"}`)
				return
			}
			if r.Header.Get("Authorization") != "Bearer t0ken" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+host+`/token",service="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	host = up.host
	d := ocitest.Add(t, up.store, "app", "latest", text("x"))
	s := open(t, oci.Config{})
	q := oci.ResolveRequest{Reference: up.host + "/app"}
	if _, err := s.Resolve(t.Context(), q); !errors.Is(err, oci.ErrUnauthorized) {
		t.Errorf("without a login: %v", err)
	}
	q.Credentials = []oci.Credential{{Scope: up.host, Username: "me", Password: "secret"}}
	if got, err := s.Resolve(t.Context(), q); err != nil || got.Digest != d {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPrivateAuthority(t *testing.T) {
	up := startUpstream(t, "", nil)
	d := ocitest.Add(t, up.store, "app", "latest", text("x"))
	server := httptest.NewTLSServer(up.store.Handler())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	certs := t.TempDir()
	if _, err := open(t, oci.Config{Remotes: oci.Remotes{CertDirs: []string{certs}}}).Resolve(t.Context(), oci.ResolveRequest{Reference: host + "/app"}); err == nil {
		t.Error("an unknown authority was trusted")
	}
	if err := os.MkdirAll(filepath.Join(certs, host), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, host, "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, open(t, oci.Config{Remotes: oci.Remotes{CertDirs: []string{certs}}}), host+"/app", ""); got.Digest != d {
		t.Errorf("pulled %s, want %s", got.Digest, d)
	}
}

func TestMirrorsAndAliases(t *testing.T) {
	up := startUpstream(t, "", nil)
	d := ocitest.Add(t, up.store, "hub/library/nginx", "latest", text("x"))
	s := open(t, oci.Config{
		Remotes: oci.Remotes{Mirrors: []oci.Mirror{{Prefix: "docker.io", Endpoints: []string{"127.0.0.1:1/none", "http://" + up.host + "/hub"}}}},
		Aliases: []oci.Alias{{From: "gcr.io/samples", To: "own.test:5000/mine"}, {From: "old.example", To: up.host + "/hub"}},
	})
	if got := resolve(t, s, "nginx", ""); got.Digest != d || got.Repository != "nginx" {
		t.Errorf("through the mirror: %+v, want %s", got, d)
	}
	own := ocitest.Add(t, s, "mine/app", "v1", text("own"))
	for reference, want := range map[string]digest.Digest{
		"gcr.io/samples/app:v1":              own,
		"gcr.io/samples/app@" + own.String(): own,
		"own.test:5000/mine/app:v1":          own,
		"mine/app:v1":                        own,
		"docker.io/library/nginx":            d,
		"index.docker.io/library/nginx":      d,
		"old.example/library/nginx":          d,
	} {
		if got := resolve(t, s, reference, ""); got.Digest != want {
			t.Errorf("%s gives %s, want %s", reference, got.Digest, want)
		}
	}
}

func TestUnreachableSaysSoAtOnce(t *testing.T) {
	s := open(t, oci.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, reference := range []string{"registry.invalid/app", "127.0.0.1:1/app"} {
		if _, err := s.Resolve(ctx, oci.ResolveRequest{Reference: reference}); !errors.Is(err, oci.ErrUnreachable) {
			t.Errorf("%s gives %v", reference, err)
		}
	}
	if _, err := s.Resolve(ctx, oci.ResolveRequest{Reference: "own.test:5000/app"}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("an unknown image of our own gives %v", err)
	}
}

func TestLyingRegistryIsCaught(t *testing.T) {
	up := startUpstream(t, "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			body[len(body)/2] ^= 1
			w.Write(body)
		})
	})
	ocitest.Add(t, up.store, "app", "latest", text("x"))
	if _, err := open(t, oci.Config{}).Resolve(t.Context(), oci.ResolveRequest{Reference: up.host + "/app"}); err == nil || !strings.Contains(err.Error(), "content with digest") {
		t.Errorf("got %v", err)
	}
}
