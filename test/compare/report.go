package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The measured part of the page stands between these two lines.
const (
	beginMark = "<!-- written by make compare -->\n"
	endMark   = "<!-- end -->\n"
)

// rewrite puts the table into a page.
func rewrite(page, table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the table: lines %q and %q", page, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return os.WriteFile(page, []byte(before+beginMark+table+endMark+after), 0o644)
}

// table renders what was measured, the median of each figure.
func table(ctx context.Context, o options, samples map[key][]sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", machine(ctx, o))
	for _, p := range programs {
		fmt.Fprintf(&b, "\n### %s\n\n", strings.ToUpper(p.name[:1])+p.name[1:])
		b.WriteString("| | typed | written beside the source | first answer | again, built | after an edit | commands for it | requests fail for | held by the tool | by the program |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
		for _, t := range tools(o.binary) {
			w, ok := t.way(p)
			if rows := samples[key{p.name, t.name}]; ok && len(rows) > 0 {
				b.WriteString(row(t.name, w, rows))
			}
		}
	}
	b.WriteString(daemons(o, samples))
	return b.String()
}

func row(name string, w way, rows []sample) string {
	typed := fmt.Sprintf("%d", len(w.start))
	for _, s := range rows {
		if s.err != nil {
			reason, _, _ := strings.Cut(s.err.Error(), "\n")
			return fmt.Sprintf("| %s | %s | %s | does not get there: %s | | | | | | |\n", name, typed, w.wrote(), reason)
		}
	}
	gap := median(rows, func(s sample) time.Duration { return s.gap })
	missing := "never"
	if gap > 0 {
		missing = seconds(gap)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %d | %s | %s | %s |\n", name, typed, w.wrote(),
		seconds(median(rows, func(s sample) time.Duration { return s.first })), seconds(median(rows, func(s sample) time.Duration { return s.again })),
		seconds(median(rows, func(s sample) time.Duration { return s.edit })), len(w.edit), missing,
		megabytes(median(rows, func(s sample) int64 { return s.held.tool })), megabytes(median(rows, func(s sample) int64 { return s.held.program })))
}

// daemons says how long the daemons took to start, and what Fairlead holds with the program at zero.
func daemons(o options, samples map[key][]sample) string {
	var b strings.Builder
	b.WriteString("\nBefore the first command, where there is a daemon, it took to start: ")
	var parts []string
	last := ""
	for _, t := range tools(o.binary) {
		rows := samples[key{programs[0].name, t.name}]
		if program, _, _ := strings.Cut(strings.TrimPrefix(t.daemon, "exec "), " "); program != "" && program != last && len(rows) > 0 {
			last = program
			parts = append(parts, fmt.Sprintf("%s %s", program, seconds(median(rows, func(s sample) time.Duration { return s.daemon }))))
		}
	}
	b.WriteString(strings.Join(parts, ", ") + ".\n")
	for _, p := range programs {
		for _, s := range samples[key{p.name, "Fairlead"}] {
			if s.rest != nil && s.err == nil {
				fmt.Fprintf(&b, "\nLeft alone, the %s is at zero with Fairlead: %s held by the tool, %s by the program; the next request is answered after %d ms.\n",
					p.name, megabytes(s.rest.tool), megabytes(s.rest.program), s.wake.Milliseconds())
			}
		}
	}
	return b.String()
}

func median[T time.Duration | int64](rows []sample, of func(sample) T) T {
	var values []T
	for _, s := range rows {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func megabytes(kilobytes int64) string { return fmt.Sprintf("%.1f MB", float64(kilobytes)/1024) }

// machine says where and with what it was measured.
func machine(ctx context.Context, o options) string {
	said := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return errors.Join(errors.New("unknown"), err).Error()
		}
		return strings.TrimSpace(string(out))
	}
	load, _ := os.ReadFile("/proc/loadavg")      //nolint:errcheck // Linux has it
	release, _ := os.ReadFile("/etc/os-release") //nolint:errcheck // or the line stays empty
	system := ""
	for line := range strings.Lines(string(release)) {
		if name, found := strings.CutPrefix(line, "PRETTY_NAME="); found {
			system = strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	var packages []string
	for _, t := range tools(o.binary) {
		packages = append(packages, t.versions...)
	}
	slices.Sort(packages)
	var versions []string
	for _, name := range slices.Compact(packages) {
		versions = append(versions, name+" "+said("dpkg-query", "-W", "-f=${Version}", name))
	}
	version, _, _ := strings.Cut(said(o.binary, "version"), "\n")
	return fmt.Sprintf("%s, %s, Linux %s, %d processors, load %s at the end; %s, %s; %s; medians of %d.",
		time.Now().UTC().Format(time.DateOnly), system, said("uname", "-r"), runtime.NumCPU(), strings.Fields(string(load))[0], version, runtime.Version(),
		strings.Join(versions, ", "), o.rounds)
}
