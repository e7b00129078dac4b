package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// TestChurn is the short form of the program: every change once, on a few connections. FAIRLEAD_CHURN is the least number of requests.
func TestChurn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	requests := int64(5000)
	if text := os.Getenv("FAIRLEAD_CHURN"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		requests = n
	}
	if err := churn(t.Context(), t.Output(), program(t), "../../examples/hello", requests, 16); err != nil {
		t.Fatal(err)
	}
}

// folder is where fairlead is compiled, once for all tests.
var (
	folder  string
	compile = sync.OnceValues(func() ([]byte, error) {
		return exec.Command("go", "build", "-o", filepath.Join(folder, "fairlead"), "../../cmd/fairlead").CombinedOutput()
	})
)

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "churn"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// program gives the compiled fairlead.
func program(t *testing.T) string {
	t.Helper()
	if out, err := compile(); err != nil {
		t.Fatalf("building fairlead: %v\n%s", err, out)
	}
	return filepath.Join(folder, "fairlead")
}
