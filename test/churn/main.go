// Command churn sends requests that may not be repeated to a service of a Fairlead of its own, through its real gateway to
// real instances, on 1, 16 and 128 connections, and meanwhile deploys revisions, moves traffic, scales up and down, deletes
// instances and restarts the daemon. It fails if a single request does.
//
//	go run ./test/churn -binary bin/fairlead -requests 200000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("binary", "bin/fairlead", "the fairlead to test")
	example := flag.String("example", "examples/hello", "folder with the program to run")
	requests := flag.Int64("requests", 200_000, "requests for each number of connections, at least")
	widths := flag.String("connections", "1,16,128", "numbers of connections, with commas, each of which sends so many requests")
	client := flag.String("client", "http", "who sends: http (nothing twice), or over TLS: tls (as curl), https, http2 (both as net/http)")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var list []int
	for word := range strings.SplitSeq(*widths, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			log.Fatalf("churn: -connections %s: %q is not a number of connections", *widths, word)
		}
		list = append(list, n)
	}
	if kinds[*client] == nil {
		log.Fatalf("churn: -client %s is not one of http, tls, https, http2", *client)
	}
	if err := churn(ctx, os.Stdout, setup{*binary, *example, *client, *requests}, list...); err != nil {
		log.Fatalf("churn: %v", err)
	}
}

// setup is what is churned, and by whom.
type setup struct {
	binary, example string
	client          string // of kinds
	requests        int64
}

// churn loads a host of its own with each number of connections in turn, and prints a table.
func churn(ctx context.Context, out io.Writer, s setup, widths ...int) (err error) {
	home, err := os.MkdirTemp("", "churn")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	h := newHost(s.binary, home)
	if err := h.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, h.Logged())
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTime)
		defer cancel()
		if err = errors.Join(err, h.endAll(ending)); err != nil {
			err = fmt.Errorf("%w\n%s", err, h.Logged())
		}
	}()
	image, err := h.Build(ctx, s.example)
	if err != nil {
		return err
	}
	if err := create(ctx, h, image); err != nil {
		return err
	}
	fmt.Fprintf(out, "# %d processors, %s, client %s\n\n| connections | requests | failed | sent again | changes | of these restarts | p50 | p99 | most |\n|---|---|---|---|---|---|---|---|---|\n", runtime.NumCPU(), runtime.Version(), s.client)
	for _, width := range widths {
		if err := h.churnUnder(ctx, out, s, width); err != nil {
			return fmt.Errorf("%d connections: %w", width, err)
		}
	}
	return nil
}

// churnUnder sends requests until there are enough and every change was made at least once.
func (h *host) churnUnder(ctx context.Context, out io.Writer, s setup, width int) error {
	l := newLoad(h, width)
	if l.open = kinds[s.client]; s.client != "http" {
		l.addr = h.Info.GatewayTLS
	}
	var round atomic.Bool // every change was made
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx, func(sent int64) bool { return sent > s.requests && round.Load() })
	}()
	made, restarts, err := h.change(ctx, loaded, &round)
	round.Store(true)
	<-loaded
	n, p50, p99, most, failed := l.result()
	fmt.Fprintf(out, "| %d | %d | %d | %d | %d | %d | %.1f ms | %.1f ms | %.0f ms |\n", width, n, len(l.failed), l.again.Load(), made, restarts, ms(p50), ms(p99), ms(most))
	return errors.Join(err, failed)
}

// change makes all changes in turn until the load has ended.
func (h *host) change(ctx context.Context, loaded <-chan struct{}, round *atomic.Bool) (made, restarts int, err error) {
	for ; ; made++ {
		select {
		case <-loaded:
			return made, restarts, nil
		default:
		}
		c := changes[made%len(changes)]
		before := h.Cmd
		bounded, cancel := context.WithTimeoutCause(ctx, changeTime, fmt.Errorf("not done within %v", changeTime))
		err := c.do(bounded, h)
		if err != nil && bounded.Err() != nil {
			err = context.Cause(bounded)
		}
		cancel()
		if err != nil {
			return made, restarts, fmt.Errorf("%s: %w", c.name, err)
		}
		if h.Cmd != before {
			restarts++
		}
		if made+1 == len(changes) {
			round.Store(true)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
