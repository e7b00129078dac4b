package object

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(manifests []Manifest) string {
	var out []string
	for _, m := range manifests {
		out = append(out, m.Object.GetKind()+"/"+m.Object.GetName())
	}
	return strings.Join(out, " ")
}

func TestReadManifests(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yaml":      "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: c}\n",
		"a.json":      `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a1"}},{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a2"}}]}`,
		"notes.txt":   "not a manifest",
		"sub/d.yml":   "apiVersion: v1\nkind: Pod\nmetadata: {name: d}\n",
		"empty.yaml":  "",
		"sub/x/e.yml": "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		recursive bool
		want      string
	}{
		{false, "Pod/a1 Pod/a2 Pod/b Pod/c"},
		{true, "Pod/a1 Pod/a2 Pod/b Pod/c Pod/d Pod/e"},
	} {
		got, err := ReadManifests(t.Context(), []string{dir}, tc.recursive, nil)
		if err != nil || names(got) != tc.want {
			t.Errorf("recursive %v: %s, %v\nwant %s", tc.recursive, names(got), err, tc.want)
		}
	}
	got, err := ReadManifests(t.Context(), []string{"-"}, false, strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: z}\n"))
	if err != nil || names(got) != "Pod/z" {
		t.Errorf("standard input: %s, %v", names(got), err)
	}
}

func TestBadManifests(t *testing.T) {
	for name, text := range map[string]string{
		"no kind":        "metadata: {name: x}",
		"not an object":  "- 1\n- 2",
		"bad YAML":       "a: [",
		"twice":          "apiVersion: v1\nkind: Pod\nkind: Pod",
		"nothing at all": "---\n---\n",
		"too big":        "a: " + strings.Repeat("x", maxManifest+1),
		"aliases that grow": "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n" +
			"g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\ni: [*h,*h,*h,*h,*h,*h,*h,*h,*h,*h]\n",
	} {
		got, err := ReadManifests(t.Context(), []string{"-"}, false, strings.NewReader(text))
		if err == nil {
			t.Errorf("%s: taken as %s", name, names(got))
		}
	}
	if _, err := ReadManifests(t.Context(), []string{"/does/not/exist"}, false, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzManifests holds that a manifest of any form is read or refused, and that what is read is an object.
func FuzzManifests(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n---\n{}")
	f.Add(`{"apiVersion":"v1","kind":"PodList","items":[{}]}`)
	f.Add("a: &a [*a]")
	f.Add(strings.Repeat("[", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ReadManifests(t.Context(), []string{"-"}, false, strings.NewReader(text))
		if err != nil {
			return
		}
		for _, m := range got {
			if m.Object.GetKind() == "" {
				t.Errorf("an object without a kind was read from %q", text)
			}
		}
	})
}

// TestReadManifestsInterrupted: Ctrl-C ends the wait for standard input, and for an address.
func TestReadManifestsInterrupted(t *testing.T) {
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	typed, keyboard := io.Pipe()
	defer keyboard.Close()
	for _, path := range []string{"-", "http://127.0.0.1:1/x"} {
		if _, err := ReadManifests(interrupted, []string{path}, false, typed); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want it canceled", path, err)
		}
	}
}

// TestJSONValues: values in a row are objects each, and YAML that looks like JSON at its beginning is one document.
func TestJSONValues(t *testing.T) {
	object := func(name string) string {
		return `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "` + name + `"}}`
	}
	for text, want := range map[string]int{
		object("a"): 1, object("a") + object("b"): 2, object("a") + "\n" + object("b") + "\n---\n" + object("c"): 3, "{apiVersion: v1, kind: Pod, metadata: {name: a}}": 1,
	} {
		got, err := ReadManifests(t.Context(), []string{"-"}, false, strings.NewReader(text))
		if err != nil || len(got) != want {
			t.Errorf("%s gives %d objects, %v, want %d", text, len(got), err, want)
		}
	}
	if got, err := ReadManifests(t.Context(), []string{"-"}, false, strings.NewReader(object("a")+"{")); err == nil {
		t.Errorf("what is cut off gives %d objects", len(got))
	}
}
