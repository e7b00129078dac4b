package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// answer says how long a wake took, all in all and phase by phase as Server-Timing tells.
type answer struct {
	took   time.Duration
	phases map[string]time.Duration
}

// wakes asks services at once, width of them and so many times over, each service once.
func (h *host) wakes(ctx context.Context, width, times int) ([]answer, error) {
	var answers []answer
	for round := range times {
		got, err := h.ask(ctx, round*width, width)
		if err != nil {
			return nil, err
		}
		answers = append(answers, got...)
	}
	return answers, nil
}

// ask sends one request to each of several services at once.
func (h *host) ask(ctx context.Context, first, width int) ([]answer, error) {
	answers, errs := make([]answer, width), make([]error, width)
	var group sync.WaitGroup
	for i := range width {
		group.Go(func() { answers[i], errs[i] = h.get(ctx, first+i) })
	}
	group.Wait()
	return answers, errors.Join(errs...)
}

func (h *host) get(ctx context.Context, i int) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name(i)+".default."+h.Info.Domain, nil)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Fairlead-Server-Timing", "1")
	begin := time.Now()
	response, err := h.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", name(i), response.Status)
	}
	a := answer{took: time.Since(begin), phases: map[string]time.Duration{}}
	if err != nil {
		return a, err
	}
	a.phases, err = readTiming(response.Header.Get("Server-Timing"))
	return a, err
}

// readTiming reads a Server-Timing header whose metrics have a duration and nothing else.
func readTiming(header string) (map[string]time.Duration, error) {
	phases := map[string]time.Duration{}
	for part := range strings.SplitSeq(header, ", ") {
		if part == "" {
			continue
		}
		phase, text, _ := strings.Cut(part, ";dur=")
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("Server-Timing %q: %w", header, err)
		}
		phases[phase] = time.Duration(ms * float64(time.Millisecond))
	}
	return phases, nil
}

// told is how long what a wake changed takes at most to be written to the API, and the spares to be made again.
const told = 5 * time.Second

// wakesAndCost wakes services one after the other, and tells also what one took of a processor until all was told of it, its program's start included.
func (h *host) wakesAndCost(ctx context.Context, times, defined int) ([]answer, time.Duration, error) {
	before, err := h.cpuTime()
	if err != nil {
		return nil, 0, err
	}
	profiled := h.profile(ctx, fmt.Sprintf("wake-%d.cpu", defined))
	answers, err := h.wakes(ctx, 1, times)
	if err != nil {
		return nil, 0, err
	}
	if err := errors.Join(pause(ctx, told), <-profiled); err != nil {
		return nil, 0, err
	}
	after, err := h.cpuTime()
	return answers, (after - before) / time.Duration(times), err
}

func times(answers []answer) []time.Duration {
	took := make([]time.Duration, len(answers))
	for i, a := range answers {
		took[i] = a.took
	}
	return took
}

// phases tells the median and the 95th percentile of each phase of the wakes.
func phases(answers []answer) string {
	var parts []string
	for _, phase := range []string{"queue", "wake", "create", "start", "ready", "app"} {
		var took []time.Duration
		for _, a := range answers {
			if d, ok := a.phases[phase]; ok {
				took = append(took, d)
			}
		}
		if len(took) == 0 {
			continue
		}
		slices.Sort(took)
		text := fmt.Sprintf("%s %s / %s", phase, milliseconds(at(took, 0.5)), milliseconds(at(took, 0.95)))
		if len(took) < len(answers) {
			text += fmt.Sprintf(" (%d of %d)", len(took), len(answers))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
