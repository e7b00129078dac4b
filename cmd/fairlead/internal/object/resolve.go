package object

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Target is a kind and the names of the objects meant. No names means all that a Selection selects.
type Target struct {
	Mapping *meta.RESTMapping
	Names   []string
	// Namespace is where the named objects are, when not where the Selection says.
	Namespace string
}

// UsageError is a command line that means nothing; Advice is what to type instead.
type UsageError struct {
	Problem, Advice string
}

func (e *UsageError) Error() string { return e.Problem }

// Try is the advice.
func (e *UsageError) Try() string { return e.Advice }

// Usage marks the error as the fault of the command line.
func (e *UsageError) Usage() bool { return true }

// Resolve understands "TYPE", "TYPE NAME...", "TYPE,TYPE", "TYPE/NAME ..." and categories such as "knative". The
// error is a *UsageError when the arguments cannot be understood or no such kind is served.
func (c *Client) Resolve(args []string) ([]Target, error) {
	if len(args) == 0 {
		return nil, &UsageError{"which kind of object?", "fairlead api-resources"}
	}
	if strings.Contains(args[0], "/") {
		return c.resolvePairs(args)
	}
	var targets []Target
	for _, name := range strings.Split(args[0], ",") {
		mappings, err := c.mappings(name)
		if err != nil {
			return nil, err
		}
		for _, m := range mappings {
			targets = append(targets, Target{Mapping: m, Names: args[1:]})
		}
	}
	for _, name := range args[1:] {
		if strings.Contains(name, "/") {
			return nil, &UsageError{fmt.Sprintf("%q mixes TYPE NAME with TYPE/NAME", name), "write either TYPE NAME... or TYPE/NAME..."}
		}
	}
	if len(args) > 1 && len(targets) > 1 {
		return nil, &UsageError{"names need one kind", "write TYPE/NAME for each object"}
	}
	return targets, nil
}

func (c *Client) resolvePairs(args []string) ([]Target, error) {
	var targets []Target
	for _, arg := range args {
		kind, name, found := strings.Cut(arg, "/")
		if !found || kind == "" || name == "" || strings.Contains(name, "/") {
			return nil, &UsageError{fmt.Sprintf("%q is not TYPE/NAME", arg), "write TYPE/NAME for each object"}
		}
		mappings, err := c.mappings(kind)
		if err != nil {
			return nil, err
		}
		if len(mappings) != 1 {
			return nil, &UsageError{fmt.Sprintf("%q is a category, which has no object %q", kind, name), "fairlead get " + kind}
		}
		targets = append(targets, Target{Mapping: mappings[0], Names: []string{name}})
	}
	return targets, nil
}

// mappings finds the kinds behind one word: a plural, singular, short name, Kind, any of these with ".group" or
// ".version.group", or a category.
func (c *Client) mappings(word string) ([]*meta.RESTMapping, error) {
	if word == "" {
		return nil, &UsageError{"which kind of object?", "fairlead api-resources"}
	}
	if resources, ok := c.categories.Expand(word); ok {
		var out []*meta.RESTMapping
		for _, r := range resources {
			m, err := c.mapping(r.WithVersion(""))
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
		return out, nil
	}
	full, short := schema.ParseResourceArg(lower(word))
	if full != nil {
		if m, err := c.mapping(*full); err == nil {
			return []*meta.RESTMapping{m}, nil
		}
	}
	m, err := c.mapping(short.WithVersion(""))
	if err == nil {
		return []*meta.RESTMapping{m}, nil
	}
	if meta.IsNoMatchError(err) || errors.As(err, new(*meta.AmbiguousResourceError)) {
		return nil, &UsageError{fmt.Sprintf("the server has no kind %q", word), "fairlead api-resources"}
	}
	return nil, fmt.Errorf("looking up the kind %q: %w", word, err)
}

func (c *Client) mapping(resource schema.GroupVersionResource) (*meta.RESTMapping, error) {
	kind, err := c.mapper.KindFor(resource)
	if err != nil {
		return nil, err
	}
	return c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
}

func namespaced(m *meta.RESTMapping) bool { return m.Scope.Name() == meta.RESTScopeNameNamespace }

func lower(s string) string { return strings.ToLower(s) }
