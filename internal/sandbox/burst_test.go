package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// TestBurst creates, wakes, asks and ends many at once.
func TestBurst(t *testing.T) {
	m := start(t, sandbox.Config{})
	spec := web(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			i, err := m.Create(t.Context(), spec)
			if err != nil {
				t.Error(err)
				return
			}
			if err := i.Start(t.Context()); err != nil {
				t.Error(err)
			}
			if err := i.WaitReady(t.Context()); err != nil {
				t.Error(err)
			}
			if body, err := get(t, i, "/"); err != nil || body != "hello 1\n" {
				t.Errorf("%q, %v", body, err)
			}
			if err := i.Stop(t.Context(), time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := m.Instances(); len(left) != 0 {
		t.Errorf("%d instances are left", len(left))
	}
}

// TestNotAProgram starts a file that the kernel cannot run: that shows only when user code is let run.
func TestNotAProgram(t *testing.T) {
	root := t.TempDir()
	os.Chmod(root, 0o755)
	if err := os.WriteFile(filepath.Join(root, "junk"), []byte("\x7fELFno"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, runtime := range everyDriver() {
		t.Run(runtime, func(t *testing.T) {
			m := start(t, sandbox.Config{Runtime: runtime})
			i := create(t, m, web(t, func(s *sandbox.Spec) {
				s.Restart = sandbox.RestartNever
				s.Containers[0].Lowers, s.Containers[0].Args = []string{root}, []string{"/junk"}
			}))
			if err := i.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := until(t, i, "the end", func(s sandbox.State) bool { return s.Phase == sandbox.PhaseGone })
			// runc has nobody left to tell the reason to.
			told := runtime == "runc" || strings.Contains(strings.ToLower(s.Message), "exec format error")
			if s.Containers[0].Exit == nil || s.Containers[0].Exit.Code == 0 || !told {
				t.Errorf("state %+v, exit %+v", s, s.Containers[0].Exit)
			}
		})
	}
}
