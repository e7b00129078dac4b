package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go tool test2json`.
type event struct {
	Action, Test, Output string
	Elapsed              float64
}

// result is what became of one test: pass, fail, skip, or unfinished when the suite ended before it did.
type result struct {
	suite, test, outcome string
	seconds              float64
	output               []string
}

// readEvents collects the results of one suite from its event stream; notes are called as tests end.
func readEvents(suiteName string, stream io.Reader, note func(*result)) ([]*result, error) {
	byName := map[string]*result{}
	var order []*result
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Test != "" {
				r := byName[e.Test]
				if r == nil {
					r = &result{suite: suiteName, test: e.Test, outcome: "unfinished"}
					byName[e.Test], order = r, append(order, r)
				}
				r.add(e, note)
			}
		}
		if err == io.EOF {
			return order, nil
		}
		if err != nil {
			return order, fmt.Errorf("read the events of suite %s: %w", suiteName, err)
		}
	}
}

func (r *result) add(e event, note func(*result)) {
	switch e.Action {
	case "output":
		r.output = append(r.output, e.Output)
	case "pass", "fail", "skip":
		r.outcome, r.seconds = e.Action, e.Elapsed
		note(r)
	}
}

// reason is the first line of a failed or skipped test's own output that says why.
func (r *result) reason() string {
	var last string
	for _, line := range r.output {
		text := strings.TrimSpace(line)
		if _, message, ok := strings.Cut(text, "_test.go:"); ok {
			if _, message, ok = strings.Cut(message, ": "); ok {
				last = message
			}
		}
		if strings.HasPrefix(text, "panic:") {
			return text
		}
	}
	const most = 300
	if len(last) > most {
		last = last[:most] + "..."
	}
	return last
}

// counts are the numbers of one suite: tests as they are named at the top, and every result line with subtests.
type counts struct{ pass, fail, skip, unfinished int }

func (c *counts) add(outcome string) {
	switch outcome {
	case "pass":
		c.pass++
	case "fail":
		c.fail++
	case "skip":
		c.skip++
	default:
		c.unfinished++
	}
}

func (c counts) String() string {
	text := fmt.Sprintf("%d pass, %d fail, %d skip", c.pass, c.fail, c.skip)
	if c.unfinished > 0 {
		text += fmt.Sprintf(", %d unfinished", c.unfinished)
	}
	return text
}

// printReport writes the table and the counts and tells whether everything passed or was skipped.
func printReport(w io.Writer, results []*result) bool {
	top, all := map[string]*counts{}, map[string]*counts{}
	var names []string
	fmt.Fprintf(w, "\n%-26s %-62s %-10s %8s\n", "SUITE", "TEST", "RESULT", "SECONDS")
	for _, r := range results {
		if top[r.suite] == nil {
			top[r.suite], all[r.suite] = &counts{}, &counts{}
			names = append(names, r.suite)
		}
		all[r.suite].add(r.outcome)
		if !strings.Contains(r.test, "/") {
			top[r.suite].add(r.outcome)
		}
		fmt.Fprintf(w, "%-26s %-62s %-10s %8.1f\n", r.suite, r.test, r.outcome, r.seconds)
	}
	fmt.Fprintln(w)
	for _, r := range results {
		if r.outcome != "pass" {
			fmt.Fprintf(w, "%s: %s %s: %s\n", r.outcome, r.suite, r.test, r.reason())
		}
	}
	fmt.Fprintln(w)
	for _, name := range names {
		fmt.Fprintf(w, "%-26s tests: %v; result lines: %v\n", name, top[name], all[name])
	}
	return !slices.ContainsFunc(results, func(r *result) bool { return r.outcome != "pass" && r.outcome != "skip" })
}
