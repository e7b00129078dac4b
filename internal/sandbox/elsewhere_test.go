package sandbox_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// TestListensElsewhere runs programs that are asked on another port than the one they listen on.
func TestListensElsewhere(t *testing.T) {
	m := start(t, sandbox.Config{})
	for name, probe := range map[string]*sandbox.Probe{
		"built in": {TCP: &sandbox.TCPProbe{Port: 8080}},
		"http":     {HTTP: &sandbox.HTTPProbe{Port: 8080}, Period: 100 * time.Millisecond, FailureThreshold: 1},
	} {
		t.Run(name, func(t *testing.T) {
			i := create(t, m, web(t, func(s *sandbox.Spec) {
				s.Containers[0].Env, s.Containers[0].Readiness = []string{"PORT=3000"}, probe
			}))
			if err := i.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := until(t, i, "a word about port 3000", func(s sandbox.State) bool { return s.Containers[0].Elsewhere != nil })
			e := s.Containers[0].Elsewhere
			if e.Port != 8080 || len(e.Listens) != 1 || e.Listens[0].Port() != 3000 {
				t.Errorf("elsewhere is %+v", e)
			}
			if s.Ready || s.Reason != sandbox.ReasonUnhealthy || !strings.Contains(s.Message, "nothing listens on port 8080; the program listens on port 3000") {
				t.Errorf("state %+v", s)
			}
			if took := time.Since(s.Started); took < 2*time.Second {
				t.Errorf("told after %v", took)
			}
		})
	}
}

// TestListensOnLoopback shows that the instance's own loopback is good enough: requests come over it.
func TestListensOnLoopback(t *testing.T) {
	m := start(t, sandbox.Config{})
	for _, host := range []string{"127.0.0.1", "::1"} {
		i := startReady(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].Env = append(s.Containers[0].Env, "HOST="+host) }))
		if out, err := get(t, i, "/"); err != nil || !strings.HasPrefix(out, "hello") {
			t.Errorf("on %s: %q, %v", host, out, err)
		}
	}
	i := create(t, m, web(t, func(s *sandbox.Spec) { s.Containers[0].Env = append(s.Containers[0].Env, "HOST=10.88.0.2") }))
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := until(t, i, "a word about the address", func(s sandbox.State) bool { return s.Containers[0].Elsewhere != nil })
	if want := netip.MustParseAddrPort("10.88.0.2:8080"); s.Containers[0].Elsewhere.Listens[0] != want || !strings.Contains(s.Message, "port 8080 is listened on only at 10.88.0.2") {
		t.Errorf("state %+v", s)
	}
}
