// Package fairlead_test holds the rules of the house that no linter knows: which package may import which,
// one package comment each, no sleeping tests.
package fairlead_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead-dev/fairlead/"

// layers says on which layer a package stands. A package imports only packages of lower layers; a sub-package
// stands on the layer of its parent and may be used by it, and by others only where the parent may be.
var layers = map[string]int{
	"internal/knative":    0,
	"internal/cloudevent": 0,
	"internal/autoscale":  0,
	"internal/quota":      0,
	"internal/store":      1,
	"internal/oci":        1,
	"internal/telemetry":  1,
	"internal/build":      2,
	"internal/sandbox":    2,
	"internal/gateway":    2,
	"internal/broker":     2,
	"internal/api":        3,
	"internal/controller": 3,
	"internal/kube":       3,
	"internal/dashboard":  3,
	"internal/daemon":     4,
	"cmd/fairlead":        5,
}

type goPackage struct {
	ImportPath   string
	Dir          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list printed something unexpected: %v", err)
		}
		packages = append(packages, p)
	}
}

// parent gives the package of the layer table that an import path belongs to.
func parent(importPath string) (string, bool) {
	rel, ours := strings.CutPrefix(importPath, module)
	if !ours {
		return "", false
	}
	for name := range layers {
		if rel == name || strings.HasPrefix(rel, name+"/") {
			return name, true
		}
	}
	return rel, false
}

func TestLayers(t *testing.T) {
	for _, p := range listPackages(t) {
		from, known := parent(p.ImportPath)
		if !known {
			if strings.HasPrefix(from, "internal/") || strings.HasPrefix(from, "cmd/") {
				t.Errorf("%s is on no layer: add it to the table here and write a decision record in docs/adr", p.ImportPath)
			}
			continue
		}
		for _, imported := range p.Imports {
			to, known := parent(imported)
			if !known || to == from {
				continue
			}
			if layers[to] >= layers[from] {
				t.Errorf("%s (layer %d) imports %s (layer %d): only lower layers may be imported", p.ImportPath, layers[from], imported, layers[to])
			}
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		var commented []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				commented = append(commented, name)
			}
		}
		if len(commented) != 1 {
			t.Errorf("%s has %d package comments %v, want exactly one", p.ImportPath, len(commented), commented)
		}
	}
}

// TestNoSleepingTests refuses time.Sleep in tests, except in a file that runs its tests in a synctest bubble.
func TestNoSleepingTests(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if imports(f, "testing/synctest") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if ok && sel.Sel.Name == "Sleep" {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
						t.Errorf("%s: time.Sleep in a test: wait for what you expect, or use a synctest bubble", fset.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
}

func imports(f *ast.File, path string) bool {
	return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return strings.Trim(i.Path.Value, `"`) == path })
}

// TestFileSize holds the limit of 600 lines a file.
func TestFileSize(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasPrefix(d.Name(), "zz_generated") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := strings.Count(string(data), "\n"); n > 600 {
			t.Errorf("%s has %d lines, the limit is 600: split it", path, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// largest is how many bytes a file of the repository may have: data and programs are made by scripts, not kept.
const largest = 200 << 10

// TestNoLargeFiles looks at what git tracks or would take in, so that a program or a home folder that was built here by mistake is seen before it is committed.
func TestNoLargeFiles(t *testing.T) {
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a checkout")
	}
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(path)
		if err != nil || strings.HasPrefix(filepath.Base(path), "zz_generated") {
			continue // removed and not committed yet, or generated
		}
		if info.Size() > largest {
			t.Errorf("%s has %d KB, the limit is %d: remove it, or make it when it is needed", path, info.Size()>>10, largest>>10)
		}
	}
}

// TestDependenciesHaveReasons compares the direct requirements of go.mod with docs/reference/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/reference/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, line := range strings.Split(string(page), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 4 && strings.Contains(cells[1], ".") {
			reasons[strings.TrimSpace(cells[1])] = true
		}
	}
	for _, r := range mod.Require {
		if !r.Indirect && !reasons[r.Path] {
			t.Errorf("%s is required directly and docs/reference/dependencies.md gives no reason", r.Path)
		}
		delete(reasons, r.Path)
	}
	for path := range reasons {
		t.Errorf("docs/reference/dependencies.md lists %s, which go.mod does not require", path)
	}
}
