package kinds

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// column is one column of a table. A wide one shows with -o wide.
type column struct {
	name, kind, description string
	wide                    bool
}

// columns are the columns of a kind and the cells of one object for them. The name comes first by itself; "Age" stands
// where the kind wants it.
type columns struct {
	names []column
	cells func(object runtime.Object, now time.Time) []any
}

func text(name, description string) column {
	return column{name: name, kind: "string", description: description}
}
func number(name, description string) column {
	return column{name: name, kind: "integer", description: description}
}
func wide(name, description string) column {
	return column{name: name, kind: "string", description: description, wide: true}
}
func ageColumn() column { return text("Age", "Time since the object was made.") }

// age prints how long ago something happened, as kubectl does.
func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// reading gives the same columns for another type, of which object makes what they are for.
func (c *columns) reading(object func(runtime.Object) runtime.Object) *columns {
	return &columns{names: c.names, cells: func(o runtime.Object, now time.Time) []any { return c.cells(object(o), now) }}
}

// tables turns objects of a kind into tables.
type tables struct {
	columns  *columns
	fallback rest.TableConvertor
}

func newTables(r *row) rest.TableConvertor {
	fallback := rest.NewDefaultTableConvertor(schema.GroupResource{Group: r.gvk.Group, Resource: r.plural})
	if r.columns == nil {
		return fallback
	}
	return &tables{columns: r.columns, fallback: fallback}
}

// ConvertToTable gives one row per object.
func (t *tables) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if list, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(object); err == nil {
		table.ResourceVersion = m.GetResourceVersion()
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		table.ColumnDefinitions = t.headers()
	}
	now := time.Now()
	add := func(o runtime.Object) error {
		m, err := meta.Accessor(o)
		if err != nil {
			return fmt.Errorf("kinds: table of %T: %w", o, err)
		}
		cells := append([]any{m.GetName()}, t.columns.cells(o, now)...)
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if meta.IsListType(object) {
		return table, meta.EachListItem(object, add)
	}
	if _, isStatus := object.(*metav1.Status); isStatus {
		return t.fallback.ConvertToTable(ctx, object, options)
	}
	return table, add(object)
}

func (t *tables) headers() []metav1.TableColumnDefinition {
	headers := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: "Name of the object."}}
	for _, c := range t.columns.names {
		h := metav1.TableColumnDefinition{Name: c.name, Type: c.kind, Description: c.description}
		if c.wide {
			h.Priority = 1
		}
		headers = append(headers, h)
	}
	return headers
}
