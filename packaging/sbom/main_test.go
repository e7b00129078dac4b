package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestRun describes the test program itself, which has modules of its own only, and refuses what is no Go program.
func TestRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sbom.json")
	if err := run(self, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Version != "SPDX-2.3" || d.Packages[0].Name != "github.com/fairlead-dev/fairlead" || d.Packages[1].Name != "stdlib" {
		t.Errorf("the document is %s", text)
	}
	if len(d.Relationships) != len(d.Packages) {
		t.Errorf("%d relationships for %d packages", len(d.Relationships), len(d.Packages))
	}
	if err := run("main.go", file); err == nil {
		t.Error("a source file has modules")
	}
}
