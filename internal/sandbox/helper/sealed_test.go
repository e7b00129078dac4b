package helper

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSealedCopy: a program runs from its copy, which nobody can change, and is copied anew when it was replaced.
func TestSealedCopy(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	install := func(name string) {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program+".new", data, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	s := sealedCopies{log: slog.New(slog.DiscardHandler)}
	install("true")
	first := s.path(program)
	if first == program {
		t.Skip("this machine runs no programs from memory")
	}
	if err := exec.Command(first).Run(); err != nil {
		t.Errorf("true: %v", err)
	}
	if again := s.path(program); again != first {
		t.Errorf("copied twice: %s and %s", first, again)
	}
	open, err := os.OpenFile(first, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.WriteString("x"); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to the copy: %v", err)
	}
	other := s.path(program)
	if err := exec.Command(other).Run(); other == first || err != nil {
		t.Errorf("while the copy is open for writing: %s, %v", other, err)
	}
	open.Close()
	install("false")
	second := s.path(program)
	var exit *exec.ExitError
	if err := exec.Command(second).Run(); second == first || !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("after it was replaced: %s, %v", second, err)
	}
	if err := exec.Command(first).Run(); err != nil {
		t.Errorf("the copy before: %v", err)
	}
	if missing := s.path("/nothing/here"); missing != "/nothing/here" {
		t.Errorf("what is not there is started by %s", missing)
	}
}
