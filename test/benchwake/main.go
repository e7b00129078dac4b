// Command benchwake measures how long a person waits for services that are at zero: it starts a daemon of its own,
// deploys a Go hello under many names, lets all go to zero, and asks 1, 5, 25 and 100 of them at once. It also measures
// apply to Ready, and the memory of the daemon with everything at zero.
//
//	go run ./test/benchwake -binary bin/fairlead -services 100
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	binary := flag.String("binary", "bin/fairlead", "the fairlead to measure")
	example := flag.String("example", "examples/hello", "folder with the program to run")
	services := flag.Int("services", 100, "services to define")
	flag.Parse()
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if err := measure(ctx, *binary, *example, *services); err != nil {
		log.Fatalf("benchwake: %v", err)
	}
}

func measure(ctx context.Context, binary, example string, services int) (err error) {
	h, err := startHost(ctx, binary)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := h.stop(); err == nil {
			err = stopErr
		}
	}()
	image, err := h.build(ctx, example)
	if err != nil {
		return err
	}
	fmt.Printf("# %d services, %d processors, %s\n\n| | p50 | p95 | most |\n|---|---|---|---|\n", services, runtime.NumCPU(), runtime.Version())
	applied, err := h.deploy(ctx, image, services)
	if err != nil {
		return err
	}
	report("apply to Ready", applied)
	for _, round := range []struct{ width, times int }{{1, 20}, {5, 5}, {25, 2}, {100, 1}} {
		if round.width > services {
			break
		}
		// Within a round every service is asked once, so that all are at zero.
		next := 0
		round.times = min(round.times, services/round.width)
		if err := h.allAtZero(ctx); err != nil {
			return err
		}
		if round.width == 1 {
			memory, err := h.memory()
			if err != nil {
				return err
			}
			defer fmt.Printf("\ndaemon with %d services at zero: %d MB resident\n", services, memory>>20)
		}
		var waits []time.Duration
		for range round.times {
			got, err := h.ask(ctx, next, round.width)
			if err != nil {
				return err
			}
			waits = append(waits, got...)
			next += round.width
		}
		report(fmt.Sprintf("wake %d at once", round.width), waits)
	}
	return nil
}

// report prints a row of the table.
func report(what string, waits []time.Duration) {
	slices.Sort(waits)
	at := func(share float64) time.Duration { return waits[min(len(waits)-1, int(share*float64(len(waits))))] }
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	fmt.Printf("| %s | %s | %s | %s |\n", what, ms(at(0.5)), ms(at(0.95)), ms(waits[len(waits)-1]))
}

// residentBytes reads the resident memory of a process.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
