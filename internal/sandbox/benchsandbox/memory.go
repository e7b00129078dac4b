package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// memory makes many spares and says what one of them holds: in its control group, and in this process and the helper.
func (b *bench) memory(ctx context.Context, p *program, n int) error {
	if n == 0 {
		return nil
	}
	before, err := resident()
	if err != nil {
		return err
	}
	began := time.Now()
	var all []*sandbox.Instance
	for range n {
		i, err := b.m.Create(ctx, b.spec(p))
		if err != nil {
			return err
		}
		all = append(all, i)
	}
	took := time.Since(began)
	after, err := resident()
	if err != nil {
		return err
	}
	groups := int64(0)
	for _, i := range all {
		u, err := i.Usage()
		if err != nil {
			return err
		}
		groups += u.MemoryBytes
	}
	mb := func(bytes int64) float64 { return float64(bytes) / float64(n) / (1 << 20) }
	fmt.Printf("%d spares one after the other: %.1f ms each; memory of each: %.2f MB in its control group, %.2f MB in the daemon and the helper\n",
		n, float64(took.Milliseconds())/float64(n), mb(groups), mb(after-before))
	for _, i := range all {
		if err := i.Stop(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// resident is the memory of this process and of its children, in bytes: the helper is one, what it holds are not.
func resident() (int64, error) {
	self := os.Getpid()
	procs, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		values := map[string]int{}
		for line := range strings.Lines(string(data)) {
			name, rest, _ := strings.Cut(line, ":")
			if f := strings.Fields(rest); len(f) > 0 {
				values[name], _ = strconv.Atoi(f[0]) // names and masks are no numbers, and not asked for
			}
		}
		if values["Pid"] == self || values["PPid"] == self {
			sum += int64(values["VmRSS"]) << 10
		}
	}
	return sum, nil
}
