package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// unready is a probe that says no once the program had time to begin: the state tells the last reason.
func unready(p sandbox.Probe) *sandbox.Probe {
	p.Period, p.FailureThreshold = 20*time.Millisecond, 75
	return &p
}

func TestProbeHTTP2(t *testing.T) {
	m := start(t, sandbox.Config{})
	only2 := func(p *sandbox.Probe) sandbox.Spec {
		return web(t, func(s *sandbox.Spec) {
			s.Containers[0].Readiness = p
			s.Containers[0].Env = append(s.Containers[0].Env, "H2C=1")
		})
	}
	startReady(t, m, only2(&sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz", H2C: true}}))
	i := create(t, m, only2(unready(sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz"}})))
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := until(t, i, "a refusal", func(s sandbox.State) bool {
		return s.Reason == sandbox.ReasonUnhealthy && !strings.Contains(s.Message, "refused")
	})
	if s.Ready {
		t.Errorf("a server of HTTP/2 alone is ready for HTTP/1: %+v", s)
	}
	i = startReady(t, m, web(t))
	if err := i.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	i = create(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Readiness = unready(sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz", H2C: true}})
	}))
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, i, "a refusal", func(s sandbox.State) bool {
		return s.Reason == sandbox.ReasonUnhealthy && !strings.Contains(s.Message, "refused")
	})
}

func TestProbeGRPC(t *testing.T) {
	m := start(t, sandbox.Config{})
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(root, "health"), "./testdata/health")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v: %s", err, out)
	}
	with := func(p *sandbox.Probe) sandbox.Spec {
		return web(t, func(s *sandbox.Spec) {
			s.Containers[0].Lowers, s.Containers[0].Args, s.Containers[0].Readiness = []string{root}, []string{"/health"}, p
		})
	}
	startReady(t, m, with(&sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080}}))
	startReady(t, m, with(&sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080, Service: "good"}, Period: 20 * time.Millisecond}))
	for service, want := range map[string]string{"bad": "NOT_SERVING", "unknown": "NotFound"} {
		i := create(t, m, with(unready(sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080, Service: service}})))
		if err := i.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, i, want, func(s sandbox.State) bool { return !s.Ready && strings.Contains(s.Message, want) })
	}
	// A server that does not speak gRPC.
	i := create(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Readiness = unready(sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080}})
	}))
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, i, "a refusal", func(s sandbox.State) bool { return !s.Ready && strings.Contains(s.Message, "gRPC probe") })
}

// TestEviction fills a limited volume on disk until the instance is stopped for it.
func TestEviction(t *testing.T) {
	m := start(t, sandbox.Config{MeasureEvery: 20 * time.Millisecond})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.Volumes = []sandbox.Volume{{Name: "disk", Empty: &sandbox.EmptyVolume{SizeBytes: 2 << 20}}}
		s.Containers[0].Mounts = []sandbox.Mount{{Volume: "disk", Path: "/disk"}}
	}))
	expect(t, i, "", "fill", "/disk/one", "1")
	expect(t, i, "d", "stat", "/disk")
	if s := i.State(); s.Phase != sandbox.PhaseRunning {
		t.Fatalf("below its limit it is %+v", s)
	}
	get(t, i, "/run?do=fill&arg=/disk/two&arg=3") // it may end before it has answered
	s := until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
	if s.Reason != sandbox.ReasonEvicted || !strings.Contains(s.Message, "disk") || !strings.Contains(s.Message, "2097152") {
		t.Errorf("state %+v", s)
	}
	if e := s.Containers[0].Exit; e == nil || e.Code != 0 {
		t.Errorf("exit %+v, want code 0: SIGTERM comes first", e)
	}
}
