package object

import (
	"context"
	"slices"
	"strings"
)

// KindNames are the words people type for kinds: the plural of each, once.
func (c *Client) KindNames() ([]string, error) {
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, list := range lists {
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains([]string(r.Verbs), "get") {
				continue
			}
			name := r.Name
			if slices.Contains(out, name) { // The core group comes first and keeps the short word.
				group, _, _ := strings.Cut(list.GroupVersion, "/")
				name += "." + group
			}
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// ObjectNames are the names of the objects of one kind.
func (c *Client) ObjectNames(ctx context.Context, kind string, s Selection) ([]string, error) {
	targets, err := c.Resolve([]string{kind})
	if err != nil {
		return nil, err
	}
	objects, err := c.objects(ctx, targets, s)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range objects {
		out = append(out, objects[i].GetName())
	}
	return out, nil
}
