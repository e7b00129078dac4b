package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRuntimeOffThePath: Debian's runc is where an ordinary user's PATH does not lead. What doctor finds, the daemon runs.
func TestRuntimeOffThePath(t *testing.T) {
	const runc = "/usr/sbin/runc"
	if _, err := os.Stat(runc); err != nil {
		t.Skip("needs", runc)
	}
	t.Setenv("PATH", t.TempDir())
	d, err := findDrivers("runc")
	if err != nil || filepath.Base(d.binaries["runc"]) != "runc" {
		t.Errorf("got %+v, %v", d, err)
	}
	if path, err := LookPath("runc"); err != nil || path != d.binaries["runc"] {
		t.Errorf("got %s, %v", path, err)
	}
	if path, err := LookPath("no-such-program"); err == nil {
		t.Errorf("found %s", path)
	}
}
