package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	binary := filepath.Join(t.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/fairlead").CombinedOutput(); err != nil {
		t.Fatalf("building fairlead: %v\n%s", err, out)
	}
	if err := churn(t.Context(), t.Output(), binary, "../../examples/hello", requests, 16); err != nil {
		t.Fatal(err)
	}
}
