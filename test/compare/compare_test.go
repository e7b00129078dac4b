package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPrograms: each edit fits the example as it is today, and the tools have what they need for it.
func TestPrograms(t *testing.T) {
	for _, p := range programs {
		dir := filepath.Join(t.TempDir(), "app")
		if err := lay(filepath.Join("../../examples", p.folder), dir, p.composers); err != nil {
			t.Fatal(err)
		}
		if err := replace(filepath.Join(dir, p.source), p.old, p.changed); err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(p.newAnswer, p.answer) {
			t.Errorf("%s: the answer after an edit, %q, cannot be told from the one before, %q", p.name, p.newAnswer, p.answer)
		}
		if _, err := os.Stat(filepath.Join(dir, "compose.yaml")); err != nil {
			t.Errorf("%s has no Compose file: %v", p.name, err)
		}
		for _, tool := range tools("fairlead") {
			if w, ok := tool.way(p); ok && (len(w.start) == 0 || len(w.edit) == 0 || len(w.stop) == 0) {
				t.Errorf("%s with %s lacks a command: %+v", p.name, tool.name, w)
			}
		}
	}
}

func TestRow(t *testing.T) {
	w := way{files: map[string]string{"Dockerfile": "FROM a\nCMD b\n", "compose.yaml": "services:\n"}, start: []string{"up"}, edit: []string{"build", "up"}}
	rows := []sample{
		{first: 3 * time.Second, again: time.Second, edit: 12 * time.Second, gap: 0, held: memory{tool: 2048, program: 512}},
		{first: time.Second, again: time.Second, edit: time.Second, gap: time.Second, held: memory{tool: 1024, program: 512}},
		{first: 2 * time.Second, again: time.Second, edit: 11 * time.Second, gap: 0, held: memory{tool: 1024, program: 512}},
	}
	want := "| it | 1 | Dockerfile, compose.yaml: 3 lines | 2.00 s | 1.00 s | 11.0 s | 2 | never | 1.0 MB | 0.5 MB |\n"
	if got := row("it", w, rows); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	rows[1].err = errors.New("it: exit status 1\nand more")
	if got := row("it", w, rows); !strings.Contains(got, "does not get there: it: exit status 1 |") {
		t.Errorf("a tool that fails is shown as %s", got)
	}
}

// TestPage: the page of the documentation has the place where the table goes, and what is around it stays.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/explanation/compared.md")
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(page, "a table\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), beginMark)
	_, after, _ := strings.Cut(rest, endMark)
	if want := before + beginMark + "a table\n" + endMark + after; string(got) != want {
		t.Errorf("the page becomes\n%s", got)
	}
	if err := os.WriteFile(page, []byte("no place"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(page, "a table\n"); err == nil {
		t.Error("a page without a place for the table is taken")
	}
}
