package daemon

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

func TestImageSettings(t *testing.T) {
	good := ImageSettings{
		Mirrors: []string{"docker.io=a.example/hub", "ghcr.io=b.example", "docker.io=http://127.0.0.1:5001"},
		Aliases: []string{"gcr.io/samples=localhost:5000/samples"}, PlainHTTP: []string{"lan.example"}, LimitBytes: 5,
	}
	var got oci.Config
	if err := good.apply(&got); err != nil {
		t.Fatal(err)
	}
	want := oci.Config{
		Aliases: []oci.Alias{{From: "gcr.io/samples", To: "localhost:5000/samples"}}, SizeLimitBytes: 5,
		Remotes: oci.Remotes{PlainHTTP: []string{"lan.example"}, Mirrors: []oci.Mirror{
			{Prefix: "docker.io", Endpoints: []string{"a.example/hub", "http://127.0.0.1:5001"}}, {Prefix: "ghcr.io", Endpoints: []string{"b.example"}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for setting, bad := range map[string]ImageSettings{
		"image-mirror": {Mirrors: []string{"docker.io"}},
		"image-alias":  {Aliases: []string{"a=B!"}},
		"image-limit":  {LimitBytes: -1},
	} {
		if err := bad.apply(&oci.Config{}); err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("a bad %s gives %v", setting, err)
		}
	}
}

func TestRegistryToken(t *testing.T) {
	settings := NewSettings()
	settings.Home = t.TempDir()
	w := &wiring{Daemon: &Daemon{settings: settings}}
	if token, err := w.registryToken(); err != nil || token != "" {
		t.Errorf("on the loopback interface: %q, %v", token, err)
	}
	settings.RegistryListen = "0.0.0.0:5000"
	first, err := w.registryToken()
	if err != nil || len(first) < 20 {
		t.Fatalf("open to others: %q, %v", first, err)
	}
	if again, err := w.registryToken(); err != nil || again != first {
		t.Errorf("at the next start: %q, %v, it was %q", again, err, first)
	}
}
