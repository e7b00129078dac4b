package oci_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// TestFormerHosts: a digest is found under every address that the registry has had, and a tag under that of now alone.
func TestFormerHosts(t *testing.T) {
	dir := t.TempDir()
	at := func(hosts ...string) *oci.Store {
		t.Helper()
		s, err := oci.New(oci.Config{Dir: dir, Hosts: hosts, Remotes: oci.Remotes{AuthFiles: []string{}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	first := at("127.0.0.1:1", "localhost:1")
	d := ocitest.Add(t, first, "app", "latest", text("x")).String()
	first.Close()
	at("127.0.0.1:2").Close()
	s := at("127.0.0.1:3")
	for _, reference := range []string{"127.0.0.1:1/app@" + d, "localhost:1/app@" + d, "127.0.0.1:2/app@" + d, "127.0.0.1:3/app:latest", "127.0.0.1:1/app:v9@" + d} {
		got := resolve(t, s, reference, oci.Always)
		if got.Digest.String() != d || !got.Local || !strings.HasPrefix(reference, got.Repository) {
			t.Errorf("%s gives %+v", reference, got)
		}
	}
	for reference, want := range map[string]string{
		"127.0.0.1:1/app:latest":   "was at 127.0.0.1:1 once and is at 127.0.0.1:3 now",
		"127.0.0.1:1/other@" + d:   "was at 127.0.0.1:1 once",
		"127.0.0.1:4/app@" + d:     "cannot be reached",
		"127.0.0.1:3/app:unknown":  "not found in the registry of this machine",
		"127.0.0.1:3/unknown@" + d: "not found in the registry of this machine",
	} {
		if _, err := s.Resolve(t.Context(), oci.ResolveRequest{Reference: reference}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", reference, err, want)
		}
	}
	s.Close()

	// One that is ours again is no stranger, and the list does not grow without end.
	s = at("127.0.0.1:1")
	if got := resolve(t, s, "127.0.0.1:1/app:latest", ""); got.Digest.String() != d {
		t.Errorf("at the first address again: %+v", got)
	}
	s.Close()
	var many []string
	for n := range 2000 {
		many = append(many, fmt.Sprintf("127.0.0.1:%d", 10000+n))
	}
	at(many...).Close()
	at("127.0.0.1:1").Close()
	data, err := os.ReadFile(filepath.Join(dir, "hosts.json"))
	if list := strings.Split(string(data), ","); err != nil || len(list) != 1024 || list[1023] != `"127.0.0.1:1"]` || slices.Contains(list, `"127.0.0.1:2"`) {
		t.Errorf("%d hosts are remembered, %v; the last is %s", len(list), err, list[len(list)-1])
	}
}
