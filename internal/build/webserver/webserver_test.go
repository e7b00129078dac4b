package webserver_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/build/webserver"
)

func get(t *testing.T, site http.Handler, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func newSite(t *testing.T, files map[string]string) *webserver.Site {
	t.Helper()
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	s, err := webserver.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPages(t *testing.T) {
	application := newSite(t, map[string]string{
		"index.html": "home", "about.html": "about", "docs/index.html": "docs", "app.4f3a9c1b.js": "js", ".env": "secret",
		".well-known/x": "known", "empty/file.txt": "x",
	})
	classic := newSite(t, map[string]string{"index.html": "home", "404.html": "lost"})
	for _, c := range []struct {
		site             *webserver.Site
		path             string
		status           int
		body, name, want string
	}{
		{application, "/", 200, "home", "Content-Type", "text/html; charset=utf-8"},
		{application, "/about", 200, "about", "Cache-Control", "no-cache"},
		{application, "/docs?x=1", 301, "", "Location", "/docs/?x=1"},
		{application, "/docs/", 200, "docs", "", ""},
		{application, "/app.4f3a9c1b.js", 200, "js", "Cache-Control", "public, max-age=31536000, immutable"},
		{application, "/settings/profile", 200, "home", "", ""},
		{application, "/missing.js", 404, "", "", ""},
		{application, "/.env", 404, "", "", ""},
		{application, "/x/../.env", 404, "", "", ""},
		{application, "/.well-known/x", 200, "known", "", ""},
		{application, "//evil.example/docs", 200, "home", "Location", ""},
		{classic, "/settings", 404, "lost", "", ""},
	} {
		resp := get(t, c.site, "http://site"+c.path)
		if got := body(t, resp); resp.StatusCode != c.status || c.body != "" && got != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, resp.StatusCode, got, c.status, c.body)
		}
		if got := resp.Header.Get(c.name); c.name != "" && got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.path, c.name, got, c.want)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	w := httptest.NewRecorder()
	application.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", w.Code)
	}
}

func TestConditionalRangeAndPacked(t *testing.T) {
	text := strings.Repeat("all work and no play ", 200)
	site := newSite(t, map[string]string{"index.html": text, "data.bin": text})
	plain := get(t, site, "/")
	etag := plain.Header.Get("Etag")
	if body(t, plain) != text || etag == "" || plain.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("plain answer has headers %v", plain.Header)
	}
	if resp := get(t, site, "/", "If-None-Match", etag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("the same ETag gives %d", resp.StatusCode)
	}
	if resp := get(t, site, "/", "Range", "bytes=4-7", "Accept-Encoding", "gzip"); resp.StatusCode != http.StatusPartialContent || body(t, resp) != "work" {
		t.Errorf("a range gives %d", resp.StatusCode)
	}
	packed := get(t, site, "/", "Accept-Encoding", "br, gzip;q=0.5")
	z, err := gzip.NewReader(packed.Body)
	if err != nil || packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Etag") == etag {
		t.Fatalf("packed answer: %v, %v", packed.Header, err)
	}
	if data, err := io.ReadAll(z); err != nil || string(data) != text {
		t.Errorf("packed answer unpacks to %d bytes, %v", len(data), err)
	}
	for path, accept := range map[string]string{"/": "gzip;q=0", "/data.bin": "gzip"} {
		if resp := get(t, site, path, "Accept-Encoding", accept); resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s with %q is packed", path, accept)
		}
	}
}
