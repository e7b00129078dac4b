package oci_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// TestClient asks a daemon's registry everything that the image commands do.
func TestClient(t *testing.T) {
	up := startUpstream(t, "", nil)
	remote := ocitest.Add(t, up.store, "far", "v1", text("far"))
	s := open(t, oci.Config{Token: "t0ken"})
	d := ocitest.Add(t, s, "team/app", "v1", text("content"))
	ctx := t.Context()
	if _, err := oci.NewClient(oci.ClientConfig{Registry: serve(t, s)}).List(ctx); !errors.Is(err, oci.ErrUnauthorized) {
		t.Errorf("without the token: %v", err)
	}
	c := oci.NewClient(oci.ClientConfig{Registry: serve(t, s), Token: "t0ken"})
	list, err := c.List(ctx)
	if err != nil || len(list) != 1 || list[0].Digest != d || list[0].Bytes == 0 || !slices.Equal(list[0].Tags, []string{"v1"}) {
		t.Errorf("list is %+v, %v", list, err)
	}
	details, err := c.Inspect(ctx, "own.test:5000/team/app:v1")
	if err != nil || details.Digest != d || len(details.Layers) != 1 || details.Config == nil || !strings.HasPrefix(details.Platform, "linux/") {
		t.Errorf("details are %+v, %v", details, err)
	}
	if _, err := c.Inspect(ctx, "team/none"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("an unknown image gives %v", err)
	}
	if _, err := c.Inspect(ctx, "Team/App"); err == nil || !strings.Contains(err.Error(), `try "team/app"`) {
		t.Errorf("a bad reference gives %v", err)
	}
	if err := c.Tag(ctx, "team/app:v1", "other/name:v2"); err != nil {
		t.Error(err)
	}
	if got := resolve(t, s, "other/name:v2", ""); got.Digest != d {
		t.Errorf("the other name is %s, want %s", got.Digest, d)
	}
	var told int
	pulled, err := c.Pull(ctx, oci.PullRequest{Reference: up.host + "/far:v1"}, func(oci.PullProgress) { told++ })
	if err != nil || pulled.Digest != remote || pulled.Repository != up.host+"/far" || told == 0 {
		t.Errorf("pulled %+v with %d reports, %v", pulled, told, err)
	}
	if _, err := c.Pull(ctx, oci.PullRequest{Reference: up.host + "/none"}, nil); err == nil {
		t.Error("a missing image was pulled")
	}
	var archive bytes.Buffer
	if err := c.Export(ctx, "team/app:v1", &archive); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, "team/app:v1"); err != nil {
		t.Error(err)
	}
	if err := c.Remove(ctx, "team/app:v1"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("removing twice gives %v", err)
	}
	names, err := c.Import(ctx, "", &archive)
	if err != nil || !slices.Equal(names, []string{"team/app:v1"}) {
		t.Errorf("imported %v, %v", names, err)
	}
	if got := resolve(t, s, "team/app:v1", ""); got.Digest != d {
		t.Errorf("imported %s, want %s", got.Digest, d)
	}
	if _, err := c.Import(ctx, "", strings.NewReader("not an archive")); err == nil {
		t.Error("rubbish was imported")
	}
}

// TestPruneKeepsWhatIsNeeded has every reason for which an image stays, and one that goes.
func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	var roots []digest.Digest
	s := open(t, oci.Config{Roots: func(context.Context) ([]digest.Digest, error) { return roots, nil }})
	add := func(name string) digest.Digest {
		return ocitest.Add(t, s, "app", "moving", text(strings.Repeat(name, 10_000)))
	}
	gone, rooted, mounted, tagged := add("gone"), add("rooted"), add("mounted"), add("tagged")
	roots = append(roots, rooted)
	goneRoot, err := s.RootFS(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	goneRoot.Close()
	root, err := s.RootFS(t.Context(), mounted)
	if err != nil {
		t.Fatal(err)
	}
	left := func() []digest.Digest {
		var ds []digest.Digest
		for _, line := range s.List() {
			ds = append(ds, line.Digest)
		}
		return ds
	}
	prune := func(q oci.PruneRequest) oci.PruneReport {
		t.Helper()
		report, err := s.Prune(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if report := prune(oci.PruneRequest{}); report != (oci.PruneReport{}) {
		t.Errorf("inside the grace period it removed %+v", report)
	}
	dry := prune(oci.PruneRequest{Now: true, DryRun: true})
	if len(left()) != 4 {
		t.Errorf("a dry run leaves %v", left())
	}
	report := prune(oci.PruneRequest{Now: true})
	if report.Manifests != 1 || report.Layers != 1 || report.Blobs != 3 || dry.Manifests != 1 {
		t.Errorf("removed %+v, announced %+v", report, dry)
	}
	if got := left(); slices.Contains(got, gone) || !slices.Contains(got, rooted) || !slices.Contains(got, mounted) || !slices.Contains(got, tagged) {
		t.Errorf("left are %v", got)
	}
	root.Close()
	roots = nil
	if report := prune(oci.PruneRequest{Now: true}); report.Manifests != 2 {
		t.Errorf("with nobody needing them it removed %+v", report)
	}
	if again, err := s.RootFS(t.Context(), tagged); err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
}

func TestSizeLimit(t *testing.T) {
	up := startUpstream(t, "", nil)
	ocitest.Add(t, up.store, "app", "latest", text("content"))
	s := open(t, oci.Config{SizeLimitBytes: 100})
	if _, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: up.host + "/app"}); !errors.Is(err, oci.ErrFull) {
		t.Errorf("a pull over the limit gives %v", err)
	}
	if err := s.PutBlob(t.Context(), "x", digest.FromString("a"), strings.NewReader("a")); err != nil {
		t.Errorf("below the limit: %v", err)
	}
	big := strings.Repeat("x", 200)
	if err := s.PutBlob(t.Context(), "x", digest.FromString(big), strings.NewReader(big)); !errors.Is(err, oci.ErrFull) {
		t.Errorf("a blob that is larger than what is left: %v", err)
	}
	rest := strings.Repeat("y", 99)
	if err := s.PutBlob(t.Context(), "x", digest.FromString(rest), strings.NewReader(rest)); err != nil {
		t.Errorf("a blob that just fits: %v", err)
	}
	if err := s.PutBlob(t.Context(), "x", digest.FromString("b"), strings.NewReader("b")); !errors.Is(err, oci.ErrFull) {
		t.Errorf("a blob when nothing is left: %v", err)
	}
}

// TestFullKeepsNothing: an upload that finds no more room is gone with its refusal, and takes none from others.
func TestFullKeepsNothing(t *testing.T) {
	s := open(t, oci.Config{SizeLimitBytes: 100})
	base := "http://" + serve(t, s)
	ask := func(method, path, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	begun := ask(http.MethodPost, "/v2/x/blobs/uploads/", "").Header.Get("Location")
	if res := ask(http.MethodPatch, begun, strings.Repeat("x", 200)); res.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("too much: %s", res.Status)
	}
	if res := ask(http.MethodGet, begun, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("the upload afterwards: %s", res.Status)
	}
}

// TestWebPagesMayNotChangeImages sends what a browser sends for a page of somebody else.
func TestWebPagesMayNotChangeImages(t *testing.T) {
	s := open(t, oci.Config{})
	ocitest.Add(t, s, "app", "latest", text("x"))
	host := serve(t, s)
	for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
		req, err := http.NewRequest(http.MethodPost, "http://"+host+"/fairlead/v1/images/remove?reference=app", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, "cross-site")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("a request with %s is answered %s", header, resp.Status)
		}
	}
	resolve(t, s, "app", "")
}
