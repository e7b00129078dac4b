package object

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// GetOptions say what Get shows.
type GetOptions struct {
	Selection
	Format    Format
	NoHeaders bool
	// Watch goes on showing changes until the context ends.
	Watch bool
	// WatchOnly leaves out what is there already.
	WatchOnly bool
}

// Get shows objects on out.
func (c *Client) Get(ctx context.Context, targets []Target, o GetOptions, out io.Writer) error {
	if err := o.Selection.check(targets); err != nil {
		return err
	}
	if o.Watch {
		if len(targets) != 1 || len(targets[0].Names) > 1 {
			return &UsageError{"--watch follows one kind, or one object", "fairlead get TYPE --watch"}
		}
		return c.getAndWatch(ctx, targets[0], o, out)
	}
	if o.Format.table() {
		return c.getTables(ctx, targets, o, out)
	}
	objects, err := c.objects(ctx, targets, o.Selection)
	if err != nil {
		return err
	}
	if o.Format.kind == "name" {
		return c.printNames(targets, objects, out)
	}
	return o.Format.print(out, objects, len(targets) == 1 && len(targets[0].Names) == 1)
}

func (c *Client) printNames(targets []Target, objects []unstructured.Unstructured, out io.Writer) error {
	for i := range objects {
		kind := objects[i].GroupVersionKind()
		for _, t := range targets {
			if t.Mapping.GroupVersionKind.GroupKind() != kind.GroupKind() {
				continue
			}
			if _, err := fmt.Fprintln(out, Label(t.Mapping, objects[i].GetName())); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

func (c *Client) getTables(ctx context.Context, targets []Target, o GetOptions, out io.Writer) error {
	shown := 0
	for _, t := range targets {
		printer := o.rows(t, out)
		prefix := ""
		if len(targets) > 1 {
			prefix = kindLabel(t.Mapping)
		}
		tables, err := c.tables(ctx, t, o.Selection)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if len(table.Rows) == 0 {
				continue
			}
			if shown > 0 && printer.columns == nil && !o.NoHeaders {
				fmt.Fprintln(out)
			}
			shown += len(table.Rows)
			if err := printer.print(table, prefix); err != nil {
				return err
			}
		}
	}
	if shown == 0 {
		fmt.Fprintln(c.warn, nothingFound(targets, o.Selection))
	}
	return nil
}

func (o GetOptions) rows(t Target, out io.Writer) *rows {
	return &rows{out: out, wide: o.Format.kind == "wide", headers: !o.NoHeaders, namespaces: o.All && namespaced(t.Mapping)}
}

// tables reads a target as one table: a request for all, or one for each name.
func (c *Client) tables(ctx context.Context, t Target, s Selection) ([]*metav1.Table, error) {
	if len(t.Names) == 0 {
		table, err := c.table(ctx, t.Mapping, s, "", metav1.IncludeMetadata)
		if err != nil {
			return nil, err
		}
		return []*metav1.Table{table}, nil
	}
	var whole *metav1.Table
	for _, name := range t.Names {
		table, err := c.table(ctx, t.Mapping, s, name, metav1.IncludeMetadata)
		if err != nil {
			return nil, err
		}
		if whole == nil {
			whole = table
		} else {
			whole.Rows = append(whole.Rows, table.Rows...)
		}
	}
	return []*metav1.Table{whole}, nil
}

func nothingFound(targets []Target, s Selection) string {
	if s.All || len(targets) == 1 && !namespaced(targets[0].Mapping) {
		return "No resources found"
	}
	return fmt.Sprintf("No resources found in %s namespace.", s.Namespace)
}

// getAndWatch shows what is there, then every change. The server ends a watch now and then; it is taken up where it
// ended.
func (c *Client) getAndWatch(ctx context.Context, t Target, o GetOptions, out io.Writer) error {
	s, include := o.Selection, metav1.IncludeMetadata
	if !o.Format.table() {
		include = metav1.IncludeObject
	}
	if len(t.Names) == 1 {
		s.Fields = "metadata.name=" + t.Names[0]
	}
	first, err := c.table(ctx, t.Mapping, s, "", include)
	if err != nil {
		return err
	}
	if len(t.Names) == 1 && len(first.Rows) == 0 {
		_, err := c.table(ctx, t.Mapping, s, t.Names[0], include)
		return err
	}
	p := watchPrinter{target: t, format: o.Format, out: out, rows: o.rows(t, out), version: first.ResourceVersion}
	if !o.WatchOnly {
		if err := p.print(first); err != nil {
			return err
		}
	}
	for {
		err := c.watch(ctx, c.tableRequest(t.Mapping, s, "", include), p.version, p.show)
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			fresh, err := c.table(ctx, t.Mapping, s, "", include)
			if err != nil {
				return err
			}
			p.version = fresh.ResourceVersion
			continue
		}
		if err != nil {
			return err
		}
	}
}

// watchPrinter shows changes in the format asked for.
type watchPrinter struct {
	target  Target
	format  Format
	out     io.Writer
	rows    *rows
	version string // the last one seen, from which a watch is taken up again
}

func (p *watchPrinter) print(table *metav1.Table) error {
	if p.format.table() {
		return p.rows.print(table, "")
	}
	for i := range table.Rows {
		o := rowMeta(&table.Rows[i])
		var err error
		if p.format.kind == "name" {
			_, err = fmt.Fprintln(p.out, Label(p.target.Mapping, o.GetName()))
		} else {
			err = p.format.print(p.out, []unstructured.Unstructured{*o}, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *watchPrinter) show(event change) error {
	if event.Type == "BOOKMARK" {
		return p.bookmark(event)
	}
	table, err := parseTable(event.Object)
	if err != nil {
		return err
	}
	for i := range table.Rows {
		if v := rowMeta(&table.Rows[i]).GetResourceVersion(); v != "" {
			p.version = v
		}
	}
	return p.print(table)
}

// bookmark takes the version from an event that carries nothing else; it is a table or a bare object.
func (p *watchPrinter) bookmark(event change) error {
	var mark struct {
		Metadata metav1.ListMeta   `json:"metadata"`
		Rows     []metav1.TableRow `json:"rows"`
	}
	if err := json.Unmarshal(event.Object, &mark); err != nil {
		return fmt.Errorf("reading a watch: %w", err)
	}
	if mark.Metadata.ResourceVersion != "" {
		p.version = mark.Metadata.ResourceVersion
	}
	return nil
}
