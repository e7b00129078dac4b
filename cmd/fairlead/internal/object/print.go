package object

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// rows prints tables of one kind after the other, aligned within each; the header is printed whenever the columns
// change.
type rows struct {
	out                       io.Writer
	wide, namespaces, headers bool
	columns                   []metav1.TableColumnDefinition
}

// print writes a table; prefix goes before every name.
func (p *rows) print(t *metav1.Table, prefix string) error {
	w := tabwriter.NewWriter(p.out, 0, 8, 3, ' ', 0)
	columns := t.ColumnDefinitions
	if len(columns) == 0 {
		columns = p.columns // a watch sends them once
	} else if p.headers && !sameColumns(columns, p.columns) {
		p.header(w, columns)
	}
	p.columns = columns
	for i := range t.Rows {
		p.row(w, columns, &t.Rows[i], prefix)
	}
	return w.Flush()
}

func (p *rows) shown(c metav1.TableColumnDefinition) bool { return c.Priority == 0 || p.wide }

func (p *rows) header(w io.Writer, columns []metav1.TableColumnDefinition) {
	var cells []string
	if p.namespaces {
		cells = append(cells, "NAMESPACE")
	}
	for _, c := range columns {
		if p.shown(c) {
			cells = append(cells, strings.ToUpper(c.Name))
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

func (p *rows) row(w io.Writer, columns []metav1.TableColumnDefinition, row *metav1.TableRow, prefix string) {
	var cells []string
	if p.namespaces {
		cells = append(cells, rowMeta(row).GetNamespace())
	}
	for i, value := range row.Cells {
		if i >= len(columns) || !p.shown(columns[i]) {
			continue
		}
		cell := ""
		if value != nil {
			cell = oneLine(fmt.Sprint(value))
		}
		if columns[i].Format == "name" && prefix != "" {
			cell = prefix + "/" + cell
		}
		cells = append(cells, cell)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// oneLine keeps a value from breaking the table.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", " ").Replace(s)
}

func sameColumns(a, b []metav1.TableColumnDefinition) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}

// Format is how objects are shown: the value of -o.
type Format struct {
	kind     string // "", wide, name, json, yaml, jsonpath
	template *jsonpath.JSONPath
}

// Formats are the values of -o, for help and completion.
func Formats() []string { return []string{"wide", "name", "json", "yaml", "jsonpath=TEMPLATE"} }

// ParseFormat reads the value of -o.
func ParseFormat(value string) (Format, error) {
	switch value {
	case "", "wide", "name", "json", "yaml":
		return Format{kind: value}, nil
	}
	text, ok := strings.CutPrefix(value, "jsonpath=")
	if !ok {
		return Format{}, &UsageError{fmt.Sprintf("-o %q is not one of %s", value, strings.Join(Formats(), ", ")), "-o yaml"}
	}
	t := jsonpath.New("output").AllowMissingKeys(true)
	if err := t.Parse(relaxed(text)); err != nil {
		return Format{}, &UsageError{fmt.Sprintf("-o jsonpath: %v", err), "-o jsonpath='{.metadata.name}'"}
	}
	return Format{kind: "jsonpath", template: t}, nil
}

// relaxed lets people leave out the braces of a single expression.
func relaxed(text string) string {
	if text == "" || strings.Contains(text, "{") {
		return text
	}
	return "{." + strings.TrimPrefix(text, ".") + "}"
}

// table says whether the format shows rows rather than objects.
func (f Format) table() bool { return f.kind == "" || f.kind == "wide" }

// print shows whole objects. One object that was asked for by name is shown alone, everything else as a list.
func (f Format) print(w io.Writer, objects []unstructured.Unstructured, alone bool) error {
	var value any
	if alone && len(objects) == 1 {
		value = objects[0].Object
	} else {
		items := make([]any, 0, len(objects))
		for i := range objects {
			items = append(items, objects[i].Object)
		}
		value = map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": items}
	}
	switch f.kind {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "    ")
		return enc.Encode(value)
	case "yaml":
		data, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		_, err = w.Write(data)
		return err
	default:
		if err := f.template.Execute(w, value); err != nil {
			return fmt.Errorf("-o jsonpath: %w", err)
		}
		return nil
	}
}
