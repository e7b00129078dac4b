package main

import (
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPushImages(t *testing.T) {
	dir := t.TempDir()
	for _, pkg := range imagePackages() {
		if err := os.WriteFile(filepath.Join(dir, path.Base(pkg)), []byte("program"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	r := &runner{repository: strings.TrimPrefix(server.URL, "http://") + "/conformance"}
	if err := r.pushImages(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.repository+"/sidecarcontainer:latest", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Config.User != "65532" || file.Config.Entrypoint[0] != "/ko-app/sidecarcontainer" || len(file.RootFS.DiffIDs) != 2 {
		t.Errorf("image configuration = %+v, root file system %+v", file.Config, file.RootFS)
	}
}
