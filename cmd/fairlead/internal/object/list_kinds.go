package object

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// KindsOptions say which kinds ListKinds shows.
type KindsOptions struct {
	// Group shows only the kinds of one API group; nil shows all.
	Group *string
	// Category shows only the kinds of one category.
	Category string
	// Namespaced shows only kinds with, or only without, namespaces; nil shows both.
	Namespaced *bool
	Format     Format
	NoHeaders  bool
}

// servedKind is a kind in the version the server prefers.
type servedKind struct {
	metav1.APIResource
	version schema.GroupVersion
}

// ListKinds shows the kinds the server has.
func (c *Client) ListKinds(o KindsOptions, out io.Writer) error {
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil {
		return fmt.Errorf("asking the server for its kinds: %w", err)
	}
	var kinds []servedKind
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return fmt.Errorf("asking the server for its kinds: %w", err)
		}
		for _, r := range list.APIResources {
			k := servedKind{r, version}
			if len(r.Verbs) > 0 && !strings.Contains(r.Name, "/") && o.wants(k) {
				kinds = append(kinds, k)
			}
		}
	}
	slices.SortFunc(kinds, func(a, b servedKind) int {
		if a.version.Group != b.version.Group {
			return strings.Compare(a.version.Group, b.version.Group)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return o.print(kinds, out)
}

func (o KindsOptions) wants(k servedKind) bool {
	return (o.Group == nil || *o.Group == k.version.Group) &&
		(o.Category == "" || slices.Contains(k.Categories, o.Category)) &&
		(o.Namespaced == nil || *o.Namespaced == k.Namespaced)
}

func (o KindsOptions) print(kinds []servedKind, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	header := []string{"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"}
	if o.Format.kind == "wide" {
		header = append(header, "VERBS", "CATEGORIES")
	}
	if !o.NoHeaders && o.Format.table() {
		fmt.Fprintln(w, strings.Join(header, "\t"))
	}
	for _, k := range kinds {
		if o.Format.kind == "name" {
			fmt.Fprintln(w, strings.TrimSuffix(k.Name+"."+k.version.Group, "."))
			continue
		}
		cells := []string{k.Name, strings.Join(k.ShortNames, ","), k.version.String(), fmt.Sprint(k.Namespaced), k.Kind}
		if o.Format.kind == "wide" {
			cells = append(cells, strings.Join(k.Verbs, ","), strings.Join(k.Categories, ","))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}
