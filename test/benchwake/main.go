// Command benchwake measures how long a person waits for services that are at zero: it starts a daemon of its own,
// deploys a Go hello under many names, lets all go to zero, and asks 1, 5, 25 and 100 of them at once. It also measures
// apply to Ready, and the memory and processor time of the daemon, its helper and the spares with everything at zero.
//
//	go run ./test/benchwake -binary bin/fairlead -services 100
//
// With -defined, the number of services is what varies: at each of the numbers the same first services are woken one at a time.
// Services beyond -services are defined without a first instance there.
//
//	go run ./test/benchwake -binary bin/fairlead -services 40 -defined 40,1000,10000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	binary, example, profiles string
	services                  int
	defined                   []int
	settle                    time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/fairlead", "the fairlead to measure")
	flag.StringVar(&o.example, "example", "examples/hello", "folder with the program to run")
	flag.StringVar(&o.profiles, "profiles", "", "folder for Go's profiles of the daemon; empty keeps none")
	flag.IntVar(&o.services, "services", 100, "services to define and prove with an instance")
	flag.DurationVar(&o.settle, "settle", 30*time.Second, "how long the daemon is left alone before its memory is read")
	flag.Func("defined", "numbers of services to wake among, with commas, in rising order", func(text string) error {
		for word := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			o.defined = append(o.defined, n)
		}
		return nil
	})
	flag.Parse()
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := run(ctx, o); err != nil {
		log.Fatalf("benchwake: %v", err)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	h, err := startHost(ctx, o.binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	h.profiles, h.settle = o.profiles, o.settle
	if h.image, err = h.Build(ctx, o.example); err != nil {
		return err
	}
	if err := h.atRest(ctx, 0); err != nil {
		return err
	}
	fmt.Printf("# %d services, %d processors, %s\n\n| | p50 | p95 | most |\n|---|---|---|---|\n", o.services, runtime.NumCPU(), runtime.Version())
	applied, err := h.deploy(ctx, o.services)
	if err != nil {
		return err
	}
	report("apply to Ready", applied)
	if len(o.defined) > 0 {
		err = h.among(ctx, o)
	} else {
		err = h.atOnce(ctx, o.services)
	}
	fmt.Println(restHeader)
	for _, row := range h.rest {
		fmt.Println(row)
	}
	return err
}

// atOnce wakes more and more services at the same time.
func (h *host) atOnce(ctx context.Context, services int) error {
	for _, round := range []struct{ width, times int }{{1, 20}, {5, 8}, {25, 2}, {100, 1}} {
		if round.width > services {
			break
		}
		if err := h.allAtZero(ctx); err != nil {
			return err
		}
		if round.width == 1 {
			if err := h.atRest(ctx, services); err != nil {
				return err
			}
		}
		waits, err := h.wakes(ctx, round.width, min(round.times, services/round.width))
		if err != nil {
			return err
		}
		report(fmt.Sprintf("wake %d at once", round.width), times(waits))
	}
	return nil
}

// among wakes the same services, one at a time, while more and more are defined.
func (h *host) among(ctx context.Context, o options) error {
	have := o.services
	for _, n := range o.defined {
		if n > have {
			before, err := h.cpuTime()
			if err != nil {
				return err
			}
			created, ready, err := h.define(ctx, have, n)
			if err != nil {
				return err
			}
			after, err := h.cpuTime()
			if err != nil {
				return err
			}
			fmt.Printf("| %d services defined by %d clients: %.0f created a second, %.0f ready a second (%s, quarter by quarter), %.0f ms of a processor each | | | |\n",
				n, definers, float64(n-have)/created.Seconds(), float64(n-have)/ready[len(ready)-1].Seconds(), quarters(ready), float64((after-before).Milliseconds())/float64(n-have))
			have = n
		}
		if err := h.allAtZero(ctx); err != nil {
			return err
		}
		if err := h.atRest(ctx, n); err != nil {
			return err
		}
		answers, cost, err := h.wakesAndCost(ctx, o.services, n)
		if err != nil {
			return err
		}
		report(fmt.Sprintf("wake 1 with %d services defined", n), times(answers))
		fmt.Printf("| its phases, p50 / p95: %s; %d ms of a processor each, until all is told | | | |\n", phases(answers), cost.Milliseconds())
	}
	return nil
}

// quarters tells how many things were done a second in each quarter of them, given when each was: whether it becomes slower.
func quarters(done []time.Duration) string {
	var rates []string
	var begun time.Duration
	for q := range 4 {
		first, last := q*len(done)/4, (q+1)*len(done)/4-1
		if last < first {
			continue
		}
		rates = append(rates, fmt.Sprintf("%.0f", float64(last-first+1)/(done[last]-begun).Seconds()))
		begun = done[last]
	}
	return strings.Join(rates, ", ")
}

// report prints a row of the table.
func report(what string, took []time.Duration) {
	slices.Sort(took)
	fmt.Printf("| %s | %s | %s | %s |\n", what, milliseconds(at(took, 0.5)), milliseconds(at(took, 0.95)), milliseconds(took[len(took)-1]))
}

// at gives a quantile of what is sorted.
func at(sorted []time.Duration, share float64) time.Duration {
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
