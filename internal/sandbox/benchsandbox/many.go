package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// atOnce is how many instances are asked, or stopped, at the same time.
const atOnce = 16

// many makes n spares and n running instances of a program, sees that each is what it should be, and says what they hold.
func (b *bench) many(ctx context.Context, p *program, n int) error {
	before, err := resident()
	if err != nil {
		return err
	}
	var spares, running []*sandbox.Instance
	creations := &way{name: fmt.Sprintf("creation of one of %d spares", n)}
	starts := &way{name: fmt.Sprintf("creation, start, first 200 of one of %d", n)}
	for range n {
		began := time.Now()
		i, err := b.m.Create(ctx, b.spec(p))
		if err != nil {
			return fmt.Errorf("spare %d: %w", len(spares)+1, err)
		}
		creations.took = append(creations.took, time.Since(began))
		spares = append(spares, i)
	}
	for range n {
		began := time.Now()
		i, err := b.m.Create(ctx, b.spec(p))
		if err == nil {
			err = errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i))
		}
		if err != nil {
			return fmt.Errorf("running instance %d: %w", len(running)+1, err)
		}
		starts.took = append(starts.took, time.Since(began))
		running = append(running, i)
	}
	after, err := resident()
	if err != nil {
		return err
	}
	if err := b.verify(ctx, spares, running); err != nil {
		return err
	}
	fmt.Printf("%d spares and %d running instances at once; each running one answered 200\n", len(spares), len(running))
	wakes := &way{name: "wake of a spare among them"}
	if err := b.held("spare", spares); err != nil {
		return err
	}
	if err := b.held("running instance", running); err != nil {
		return err
	}
	fmt.Printf("each of both: %.2f MB in the daemon and the helper\n", float64(after-before)/float64(2*n)/(1<<20))
	for _, i := range spares[:min(40, n)] {
		began := time.Now()
		if err := errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i)); err != nil {
			return err
		}
		wakes.took = append(wakes.took, time.Since(began))
	}
	table([]*way{creations, starts, wakes})
	began := time.Now()
	err = each(ctx, append(spares, running...), func(ctx context.Context, i *sandbox.Instance) error { return i.Stop(ctx, time.Second) })
	fmt.Printf("all stopped, %d at a time, in %.1f s; load average %s\n", atOnce, time.Since(began).Seconds(), load())
	return err
}

// each does something with all instances, some at a time.
func each(ctx context.Context, all []*sandbox.Instance, f func(context.Context, *sandbox.Instance) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, i := range all {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// verify sees that spares run no user code and that all others answer.
func (b *bench) verify(ctx context.Context, spares, running []*sandbox.Instance) error {
	for _, i := range spares {
		if s := i.State(); s.Phase != sandbox.PhaseCreated {
			return fmt.Errorf("spare %s is %s: %s %s", i.ID(), s.Phase, s.Reason, s.Message)
		}
	}
	return each(ctx, running, func(ctx context.Context, i *sandbox.Instance) error {
		if s := i.State(); !s.Ready {
			return fmt.Errorf("instance %s is not ready: %s %s", i.ID(), s.Reason, s.Message)
		}
		return b.reach(ctx, i)
	})
}

// held says what instances of a kind hold each.
func (b *bench) held(kind string, all []*sandbox.Instance) error {
	processes, err := members()
	if err != nil {
		return err
	}
	var proportional, groups int64
	count := 0
	for _, i := range all {
		u, err := i.Usage()
		if err != nil {
			return err
		}
		groups += u.MemoryBytes
		for _, pid := range processes[i.ID()] {
			n, err := share(pid)
			if err != nil {
				return err
			}
			proportional += n
			count++
		}
	}
	if count < len(all) {
		return fmt.Errorf("%d processes in %d instances of the kind %s: some have none", count, len(all), kind)
	}
	mb := func(bytes int64) float64 { return float64(bytes) / float64(len(all)) / (1 << 20) }
	fmt.Printf("each %s: PSS %.2f MB, %.2f MB in its control group\n", kind, mb(proportional), mb(groups))
	return nil
}

// members gives the processes of the machine by every part of the names of their control groups: one is the instance's ID.
func members() (map[string][]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	all := map[string][]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		parts := map[string]bool{}
		for line := range strings.Lines(string(data)) {
			for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
				parts[part] = true
			}
		}
		for part := range parts {
			all[part] = append(all[part], pid)
		}
	}
	return all, nil
}

// share is the memory of a process in bytes, where it counts of pages that others use too only its share (PSS).
func share(pid int) (int64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no PSS in smaps_rollup", pid)
}
