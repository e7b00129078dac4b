package main

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "rewrite the generated reference of the command line in docs/reference/cli")

// TestReference compares docs/reference/cli with what the commands say of themselves; `make gen` rewrites it.
func TestReference(t *testing.T) {
	want := generateReference(t)
	folder := filepath.Join("..", "..", "docs", "reference", "cli")
	if *update {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(folder, os.DirFS(want)); err != nil {
			t.Fatal(err)
		}
		return
	}
	names := append(fileNames(t, want), fileNames(t, folder)...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		generated, genErr := os.ReadFile(filepath.Join(want, name))
		committed, comErr := os.ReadFile(filepath.Join(folder, name))
		if genErr != nil || comErr != nil || string(generated) != string(committed) {
			t.Errorf("docs/reference/cli/%s is not what the commands say: make gen", name)
		}
	}
}

// generateReference writes one page per command into a folder. The page names no folder of who generates it.
func generateReference(t *testing.T) string {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "FAIRLEAD_") || strings.HasPrefix(name, "XDG_") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("HOME", "/home/you")
	folder := t.TempDir()
	root := newRootCommand(newTerminal(os.Stdin, os.Stdout, os.Stderr))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	if err := doc.GenMarkdownTree(root, folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func fileNames(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestEveryCommandIsDescribed holds what the help texts of all commands have in common.
func TestEveryCommandIsDescribed(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Short) > 80 {
			t.Errorf("%s: its short text %q is empty, ends with a dot or is longer than 80", c.CommandPath(), c.Short)
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if len([]rune(line)) > 120 {
				t.Errorf("%s: a line of its help is longer than 120: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand(newTerminal(os.Stdin, os.Stdout, os.Stderr)))
}
