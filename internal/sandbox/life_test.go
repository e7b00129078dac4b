package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func TestSpareToGone(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := create(t, m, web(t))
	if s := i.State(); s.Phase != sandbox.PhaseCreated || s.Ready {
		t.Fatalf("a spare is %+v", s)
	}
	if _, err := i.Dial(t.Context(), 8080); err == nil {
		t.Fatal("a spare answers")
	}
	began := time.Now()
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ready(t, i)
	t.Logf("woken in %s", time.Since(began))
	body, err := get(t, i, "/")
	if err != nil || body != "hello 1\n" {
		t.Fatalf("got %q, %v", body, err)
	}
	if err := i.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	s := i.State()
	if s.Phase != sandbox.PhaseGone || s.Reason != sandbox.ReasonStopped {
		t.Errorf("after Stop %+v", s)
	}
	if e := s.Containers[0].Exit; e == nil || e.Code != 0 {
		t.Errorf("exit %+v, want code 0: SIGTERM was to be enough", e)
	}
	if len(m.Instances()) != 0 {
		t.Error("the instance is still listed")
	}
}

func TestGraceThenKill(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Env = append(s.Containers[0].Env, "IGNORE_TERM=1")
	}))
	began := time.Now()
	if err := i.Stop(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("killed after %s, before the grace time", d)
	}
	if e := i.State().Containers[0].Exit; e == nil || e.Signal != 9 || e.Code != 137 {
		t.Errorf("exit %+v, want signal 9", e)
	}
}

// TestStubbornEnd ends the Manager while programs ignore SIGTERM, as Node does that is process 1: one that runs, one that is frozen,
// and one that drains already. Their own hour of grace must not hold it up.
func TestStubbornEnd(t *testing.T) {
	m := start(t, sandbox.Config{StopGrace: 100 * time.Millisecond})
	all := map[string]*sandbox.Instance{}
	for _, state := range []string{"running", "frozen", "draining"} {
		all[state] = startReady(t, m, web(t, func(s *sandbox.Spec) {
			s.Grace = time.Hour
			s.Containers[0].Env = append(s.Containers[0].Env, "IGNORE_TERM=1")
		}))
	}
	if err := all["frozen"].Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	go all["draining"].Stop(context.Background(), time.Hour)
	until(t, all["draining"], "draining", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseDraining })
	stopped := make(chan struct{})
	go func() { defer close(stopped); m.stop() }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the Manager does not end")
	}
	for state, i := range all {
		s := i.State()
		if e := s.Containers[0].Exit; s.Phase != sandbox.PhaseGone || e == nil || e.Signal != 9 {
			t.Errorf("%s: state %+v, exit %+v, want the end by signal 9", state, s, e)
		}
	}
}

func TestFreezeThaw(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t))
	for range 3 {
		if err := i.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := i.State(); s.Phase != sandbox.PhaseFrozen || s.Ready {
			t.Fatalf("frozen is %+v", s)
		}
		began := time.Now()
		if err := i.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := i.State(); !s.Ready {
			t.Fatalf("thawed is %+v", s)
		}
		if _, err := get(t, i, "/"); err != nil {
			t.Fatal(err)
		}
		t.Logf("thawed to answer in %s", time.Since(began))
	}
	if err := i.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if e := i.State().Containers[0].Exit; e == nil || e.Code != 0 {
		t.Errorf("exit %+v: a frozen instance was to end by SIGTERM", e)
	}
}

func TestMissingProgram(t *testing.T) {
	m := start(t, sandbox.Config{})
	_, err := m.Create(t.Context(), web(t, func(s *sandbox.Spec) { s.Containers[0].Args = []string{"/nothing"} }))
	if err == nil || !strings.Contains(err.Error(), "/nothing") {
		t.Fatalf("got %v", err)
	}
	if len(m.Instances()) != 0 {
		t.Error("a failed creation leaves an instance")
	}
}

func TestMissingRuntime(t *testing.T) {
	needRoot(t)
	spec := web(t) // built before the compiler is hidden
	t.Setenv("PATH", t.TempDir())
	sandbox.HideSystemPrograms(t)
	if _, err := sandbox.New(sandbox.Config{Dir: t.TempDir()}); !errors.Is(err, sandbox.ErrRuntimeMissing) {
		t.Errorf("without any runtime: %v", err)
	}
	m := start(t, sandbox.Config{Runtime: "process"})
	for _, runtime := range []string{"runsc", "crun"} {
		_, err := m.Create(t.Context(), with(spec, runtime))
		if !errors.Is(err, sandbox.ErrRuntimeMissing) || !strings.Contains(err.Error(), runtime) {
			t.Errorf("%s: %v", runtime, err)
		}
	}
	if _, err := m.Create(t.Context(), with(spec, "other")); !errors.Is(err, sandbox.ErrSpec) {
		t.Errorf("unknown runtime: %v", err)
	}
}

func TestCrashRestarts(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t))
	get(t, i, "/exit?code=7")
	s := until(t, i, "a restart", func(s sandbox.State) bool { return s.Containers[0].Restarts == 1 && s.Ready })
	last := s.Containers[0].Last
	if last == nil || last.Code != 7 || last.Reason != sandbox.ReasonError || !strings.Contains(last.Message, "leaving as asked") {
		t.Errorf("last exit %+v", last)
	}
	get(t, i, "/exit?code=8")
	until(t, i, "a back-off", func(s sandbox.State) bool { return s.Containers[0].Reason == sandbox.ReasonCrashLoop })
}

func TestOOM(t *testing.T) {
	m := start(t, sandbox.Config{})
	i := startReady(t, m, web(t, func(s *sandbox.Spec) {
		s.Containers[0].Resources.MemoryBytes = 64 << 20
		s.Restart = sandbox.RestartNever
	}))
	if out, err := get(t, i, "/eat?mb=16"); err != nil {
		t.Fatalf("eating less than the limit: %s, %v", out, err)
	}
	if _, err := get(t, i, "/eat?mb=200"); err == nil {
		t.Error("eating more than the limit went well")
	}
	s := until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
	if s.Reason != sandbox.ReasonOOMKilled || s.Containers[0].Exit.Reason != sandbox.ReasonOOMKilled {
		t.Errorf("state %+v, exit %+v", s, s.Containers[0].Exit)
	}
}

func with(s sandbox.Spec, runtime string) sandbox.Spec {
	s.Runtime = runtime
	return s
}
