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

// unready gives a container a readiness probe that says no. It asks only once the program listens: the state tells what it heard first.
func unready(c *sandbox.Container, p sandbox.Probe) {
	c.Startup = &sandbox.Probe{TCP: &sandbox.TCPProbe{Port: 8080}, Period: 20 * time.Millisecond, FailureThreshold: 1 << 20}
	p.Period, p.Timeout = 20*time.Millisecond, time.Minute
	c.Readiness = &p
}

func TestProbeHTTP2(t *testing.T) {
	m := start(t, sandbox.Config{})
	only2 := func(s *sandbox.Spec) { s.Containers[0].Env = append(s.Containers[0].Env, "H2C=1") }
	startReady(t, m, web(t, only2, func(s *sandbox.Spec) {
		s.Containers[0].Readiness = &sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz", H2C: true}}
	}))
	i := create(t, m, web(t, only2, func(s *sandbox.Spec) {
		unready(&s.Containers[0], sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz"}})
	}))
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
		unready(&s.Containers[0], sandbox.Probe{HTTP: &sandbox.HTTPProbe{Port: 8080, Path: "/healthz", H2C: true}})
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
	with := func(change func(*sandbox.Container)) sandbox.Spec {
		return web(t, func(s *sandbox.Spec) {
			s.Containers[0].Lowers, s.Containers[0].Args = []string{root}, []string{"/health"}
			change(&s.Containers[0])
		})
	}
	for _, p := range []sandbox.Probe{
		{GRPC: &sandbox.GRPCProbe{Port: 8080}},
		{GRPC: &sandbox.GRPCProbe{Port: 8080, Service: "good"}, Period: 20 * time.Millisecond},
	} {
		startReady(t, m, with(func(c *sandbox.Container) { c.Readiness = &p }))
	}
	for service, want := range map[string]string{"bad": "NOT_SERVING", "unknown": "NotFound"} {
		i := create(t, m, with(func(c *sandbox.Container) {
			unready(c, sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080, Service: service}})
		}))
		if err := i.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, i, want, func(s sandbox.State) bool { return !s.Ready && strings.Contains(s.Message, want) })
	}
	// A server that does not speak gRPC.
	i := create(t, m, web(t, func(s *sandbox.Spec) {
		unready(&s.Containers[0], sandbox.Probe{GRPC: &sandbox.GRPCProbe{Port: 8080}})
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
