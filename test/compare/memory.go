package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// memory is what processes hold, in kilobytes: the proportional set size, which counts a page that several share once in all.
type memory struct{ tool, program int64 }

// footprint reads every process of this namespace but this program: those called as one of programs are the program's, all others
// are there because of the tool.
func footprint(programs []string) (memory, int) {
	var m memory
	count := 0
	folders, _ := filepath.Glob("/proc/[0-9]*") //nolint:errcheck // the pattern is well formed
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(folder, "comm"))
		if err != nil {
			continue // gone
		}
		pss, ok := proportional(filepath.Join(folder, "smaps_rollup"))
		if !ok {
			continue
		}
		if slices.Contains(programs, strings.TrimSpace(string(comm))) {
			m.program += pss
			count++
		} else {
			m.tool += pss
		}
	}
	return m, count
}

// proportional reads the line `Pss: 12 kB`.
func proportional(path string) (kilobytes int64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
