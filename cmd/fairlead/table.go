package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shade says what a cell of a table means; only a terminal shows it, as colour.
type shade string

// The shades are the parameters of the terminal's "select graphic rendition" sequence.
const (
	shadeNone  shade = ""
	shadeGood  shade = "32"
	shadeBad   shade = "31"
	shadeWait  shade = "33"
	shadeFaint shade = "2"
)

// cell is one field of a table.
type cell struct {
	text  string
	shade shade
}

// table prints rows in aligned columns. The zero value with a header is ready to use.
type table struct {
	header []string
	rows   [][]cell
}

// add appends a row; a value is a cell or anything fmt can print. An empty field shows as a dash, so that columns can
// be told apart by eye and by awk.
func (t *table) add(values ...any) {
	row := make([]cell, len(values))
	for i, v := range values {
		c, isCell := v.(cell)
		if !isCell {
			c = cell{text: fmt.Sprint(v)}
		}
		if c.text == "" {
			c = cell{"-", shadeFaint}
		}
		row[i] = c
	}
	t.rows = append(t.rows, row)
}

// write prints the header and the rows; nothing follows the last column.
func (t *table) write(w io.Writer, colour bool) error {
	header := make([]cell, len(t.header))
	for i, h := range t.header {
		header[i] = cell{text: h}
	}
	rows := append([][]cell{header}, t.rows...)
	widths := make([]int, len(t.header))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			b.WriteString(paint(c.text, c.shade, colour))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+3))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func paint(text string, s shade, colour bool) string {
	if !colour || s == shadeNone {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// age spells the time since then the way kubectl does, with the two largest units that matter: 45s, 12m, 3h20m, 9d.
func age(then metav1.Time, now time.Time) string {
	if then.IsZero() {
		return "<unknown>"
	}
	d := max(now.Sub(then.Time), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 8*time.Hour && int(d.Minutes())%60 != 0:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
