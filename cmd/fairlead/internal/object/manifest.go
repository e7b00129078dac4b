package object

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// maxManifest bounds one document of a manifest, in bytes; the server takes no more either.
const maxManifest = 3 << 20

// Manifest is one object as it stands in a file.
type Manifest struct {
	Object *unstructured.Unstructured
	// Source is where it stands, for messages.
	Source string
}

// ReadManifests reads the objects of files, of the *.yaml, *.yml and *.json files of folders (their subfolders too
// when recursive), and of stdin for "-". Lists give their items. The order is that of the arguments, within a folder
// that of the names.
// What is waited for, an address or stdin, is waited for until ctx ends.
func ReadManifests(ctx context.Context, paths []string, recursive bool, stdin io.Reader) ([]Manifest, error) {
	var out []Manifest
	for _, p := range paths {
		found, err := readPath(ctx, p, recursive, stdin)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, &UsageError{"no objects in " + strings.Join(paths, ", "), "-f FILE with at least one manifest"}
	}
	return out, nil
}

func readPath(ctx context.Context, p string, recursive bool, stdin io.Reader) ([]Manifest, error) {
	if p == "-" {
		return parseManifests(patient(ctx, stdin), "standard input")
	}
	if strings.HasPrefix(p, "http://") || strings.HasPrefix(p, "https://") {
		return readURL(ctx, p)
	}
	info, err := os.Stat(p)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	if !info.IsDir() {
		return readFile(p)
	}
	var out []Manifest
	err = filepath.WalkDir(p, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != p && !recursive:
			return filepath.SkipDir
		case entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			return nil
		}
		found, err := readFile(path)
		out = append(out, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the folder %s: %w", p, err)
	}
	return out, nil
}

// patient reads what cannot be interrupted, as a terminal, until ctx ends. The goroutine then is left to its read.
func patient(ctx context.Context, from io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(w, from)
		w.CloseWithError(err)
	}()
	return r
}

func readURL(ctx context.Context, address string) ([]Manifest, error) {
	const try = "an address that answers with a manifest"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &unreadable{fmt.Errorf("reading manifests: %w", err), try}
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, &unreadable{fmt.Errorf("reading manifests: %w", err), try}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &unreadable{fmt.Errorf("reading manifests: %s answers %s", address, resp.Status), try}
	}
	return parseManifests(resp.Body, address)
}

// unreadable is a manifest that cannot be had or understood.
type unreadable struct {
	err    error
	advice string
}

func (e *unreadable) Error() string { return e.err.Error() }
func (e *unreadable) Unwrap() error { return e.err }

// Try says what was expected.
func (e *unreadable) Try() string { return e.advice }

func readFile(path string) ([]Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	defer f.Close()
	return parseManifests(f, path)
}

// parseManifests reads a stream of YAML documents, or of JSON values. Aliases of YAML are not followed further than
// the size of a manifest allows.
func parseManifests(r io.Reader, source string) ([]Manifest, error) {
	var out []Manifest
	docs := utilyaml.NewYAMLReader(bufio.NewReaderSize(r, 64<<10))
	for number := 1; ; number++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if len(doc) > maxManifest {
			return nil, fmt.Errorf("%s: document %d has %d bytes, more than the server takes (%d)", source, number, len(doc), maxManifest)
		}
		found, err := parseDocument(doc, fmt.Sprintf("%s, document %d", source, number))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
}

func parseDocument(doc []byte, source string) ([]Manifest, error) {
	var out []Manifest
	values, err := jsonValues(doc)
	if err != nil {
		return nil, &unreadable{fmt.Errorf("%s: %w", source, err), "a manifest in YAML or JSON"}
	}
	for _, value := range values {
		found, err := parseValue(value, source)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// jsonValues are the values of a document that begins with a JSON object, of which there may be several, one after the other; a
// reader of YAML would take the first and drop the rest. Any other document is one value.
func jsonValues(doc []byte) ([][]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{")) {
		return [][]byte{doc}, nil
	}
	var values [][]byte
	for dec := json.NewDecoder(bytes.NewReader(doc)); ; {
		var value json.RawMessage
		begin := dec.InputOffset()
		err := dec.Decode(&value)
		switch {
		case err == nil:
			values = append(values, value)
		case len(values) == 0:
			return [][]byte{doc}, nil // YAML in braces
		case errors.Is(err, io.EOF), bytes.HasPrefix(bytes.TrimSpace(doc[begin:]), []byte("#")):
			return values, nil
		default:
			return nil, fmt.Errorf("after object %d: %w", len(values), err)
		}
	}
}

func parseValue(doc []byte, source string) ([]Manifest, error) {
	data, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return nil, &unreadable{fmt.Errorf("%s: %w", source, err), "a manifest in YAML or JSON"}
	}
	if string(data) == "null" {
		return nil, nil
	}
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON(data); err != nil {
		return nil, &UsageError{fmt.Sprintf("%s is no manifest: %v", source, err), "a manifest has apiVersion, kind and metadata"}
	}
	if !o.IsList() {
		return []Manifest{{Object: &o, Source: source}}, nil
	}
	var out []Manifest
	err = meta.EachListItem(&o, func(item runtime.Object) error {
		one, ok := item.(*unstructured.Unstructured)
		if !ok || one.GetKind() == "" {
			return &UsageError{source + " holds something that is no object", "a manifest has apiVersion, kind and metadata"}
		}
		out = append(out, Manifest{Object: one, Source: source})
		return nil
	})
	return out, err
}

// placed is a manifest with where its object lives on the server.
type placed struct {
	Manifest
	mapping   *meta.RESTMapping
	namespace string
}

// place finds the kind of a manifest and its namespace: the manifest's own, else the one given.
func (c *Client) place(m Manifest, namespace string) (placed, error) {
	kind := m.Object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.discovery.Invalidate() // A definition may have come a moment ago, in the same manifest.
		if resettable, ok := c.mapper.(meta.ResettableRESTMapper); ok {
			resettable.Reset()
		}
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if meta.IsNoMatchError(err) {
		return placed{}, &UsageError{fmt.Sprintf("%s: the server has no kind %s in %s", m.Source, kind.Kind, kind.GroupVersion()), "fairlead api-resources"}
	}
	if err != nil {
		return placed{}, fmt.Errorf("%s: looking up the kind %s: %w", m.Source, kind.Kind, err)
	}
	if m.Object.GetName() == "" {
		return placed{}, &UsageError{fmt.Sprintf("%s: the %s has no metadata.name", m.Source, kind.Kind), "give it a name"}
	}
	out := placed{Manifest: m, mapping: mapping, namespace: namespace}
	if own := m.Object.GetNamespace(); own != "" {
		out.namespace = own
	}
	if !namespaced(mapping) {
		out.namespace = ""
	}
	return out, nil
}

// Targets are the objects of manifests, by kind and name.
func (c *Client) Targets(manifests []Manifest) ([]Target, error) {
	var out []Target
	for _, m := range manifests {
		p, err := c.place(m, "")
		if err != nil {
			return nil, err
		}
		out = append(out, Target{Mapping: p.mapping, Names: []string{m.Object.GetName()}, Namespace: p.Object.GetNamespace()})
	}
	return out, nil
}
