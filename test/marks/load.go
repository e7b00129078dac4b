package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// stage is a rate of requests, and for how long it is kept.
type stage struct {
	rate     int // requests per second
	duration time.Duration
}

// result is what came of a load.
type result struct {
	took   []time.Duration // from when each request was due to the last byte of its answer, sorted
	failed []error
}

// at gives a quantile of the times.
func (r result) at(share float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[min(len(r.took)-1, int(share*float64(len(r.took))))]
}

// load sends requests at the rates of the stages, whether or not answers come: who waits does not keep the next from asking. The time of a
// request begins when it was due, so that what the sender itself is late counts too.
func load(ctx context.Context, client *http.Client, url string, stages []stage) (result, error) {
	var (
		all      result
		mu       sync.Mutex // guards all
		requests sync.WaitGroup
	)
	due := time.Now()
	for _, s := range stages {
		pause := time.Second / time.Duration(s.rate)
		for end := due.Add(s.duration); due.Before(end); due = due.Add(pause) {
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				requests.Wait()
				return result{}, context.Cause(ctx)
			}
			asked := due
			requests.Go(func() {
				err := get(ctx, client, url)
				took := time.Since(asked)
				mu.Lock()
				defer mu.Unlock()
				all.took = append(all.took, took)
				if err != nil {
					all.failed = append(all.failed, fmt.Errorf("after %v: %w", took.Round(time.Millisecond), err))
				}
			})
		}
	}
	requests.Wait()
	slices.Sort(all.took)
	return all, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", response.Status, body)
	}
	return err
}
