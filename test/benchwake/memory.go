package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// footprint is what some processes hold, in kilobytes. Proportional counts a page that several share once in all.
type footprint struct {
	processes                               int
	resident, proportional, anonymous, file int64
}

// add reads one process; one that is gone meanwhile counts as nothing.
func (f *footprint) add(pid int) error {
	values, err := procValues(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return err
	}
	f.processes++
	f.resident += values["Rss"]
	f.proportional += values["Pss"]
	f.anonymous += values["Pss_Anon"]
	f.file += values["Pss_File"] + values["Pss_Shmem"]
	return nil
}

// procValues reads lines of the form `name: 12 kB`.
func procValues(path string) (map[string]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, found := strings.Cut(line, ":")
		if fields := strings.Fields(rest); found && len(fields) > 0 {
			if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				values[name] = n
			}
		}
	}
	return values, nil
}

// family tells the daemon, its helper (the child that runs the same program) and everything below that apart.
type family struct{ daemon, helper, instances footprint }

func (h *host) family() (family, error) {
	children := map[int][]int{}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return family{}, err
	}
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		values, err := procValues(filepath.Join(folder, "status"))
		if err != nil {
			continue // gone
		}
		children[int(values["PPid"])] = append(children[int(values["PPid"])], pid)
	}
	var f family
	if err := f.daemon.add(h.Cmd.Process.Pid); err != nil {
		return f, err
	}
	for _, helper := range children[h.Cmd.Process.Pid] {
		if err := f.helper.add(helper); err != nil {
			return f, err
		}
		for queue := children[helper]; len(queue) > 0; queue = queue[1:] {
			_ = f.instances.add(queue[0]) // gone
			queue = append(queue, children[queue[0]]...)
		}
	}
	return f, nil
}

// machineUsed is what the whole machine holds that it could not give back at once: the kernel's own memory for sandboxes is in no
// process. In kilobytes; other work on the machine is in it.
func machineUsed() (int64, error) {
	values, err := procValues("/proc/meminfo")
	return values["MemTotal"] - values["MemAvailable"], err
}

// atRest reports what the daemon holds and uses when nothing has been asked of it for a while.
func (h *host) atRest(ctx context.Context, services int) error {
	if err := pause(ctx, h.settle); err != nil {
		return err
	}
	f, err := h.family()
	if err != nil {
		return err
	}
	machine, err := machineUsed()
	if err != nil {
		return err
	}
	before, err := h.cpuTime()
	if err != nil {
		return err
	}
	if err := pause(ctx, restFor); err != nil {
		return err
	}
	after, err := h.cpuTime()
	if err != nil {
		return err
	}
	mb := func(kilobytes int64) string { return fmt.Sprintf("%d MB", kilobytes>>10) }
	h.rest = append(h.rest, fmt.Sprintf("| %d | %s | %s | %s | %s | %d: %s | %s | %.1f %% |", services, mb(f.daemon.resident), mb(f.daemon.anonymous),
		mb(f.daemon.file), mb(f.helper.proportional), f.instances.processes, mb(f.instances.proportional), mb(machine-h.machineBefore),
		100*float64(after-before)/float64(restFor)))
	name := fmt.Sprintf("rest-%d", services)
	return errors.Join(h.save(ctx, "debug/pprof/goroutine", name+".goroutine"), h.save(ctx, "debug/pprof/heap?gc=1", name+".heap"),
		h.save(ctx, "metrics", name+".metrics"))
}

// restHeader is the head of the table that atRest fills.
const restHeader = `
| services at zero | daemon resident | of that anonymous | of that files | helper | spares | the machine, with the kernel's part | processor at rest |
|---|---|---|---|---|---|---|---|`

// restFor is how long the processor time at rest is measured.
const restFor = 20 * time.Second

// save keeps what the daemon answers beside its metrics, as one of Go's profiles, where -profiles was given, and just has it made otherwise.
func (h *host) save(ctx context.Context, which, name string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Info.Metrics+"/"+which, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var to io.Writer = io.Discard
	if h.profiles != "" {
		file, err := os.Create(filepath.Join(h.profiles, name))
		if err != nil {
			return err
		}
		defer file.Close()
		to = file
	}
	if _, err := io.Copy(to, response.Body); err != nil {
		return fmt.Errorf("reading %s of the daemon: %w", which, err)
	}
	return nil
}

// profile has the daemon's use of processors profiled for a while, where -profiles was given, and tells when it is done.
func (h *host) profile(ctx context.Context, name string) <-chan error {
	done := make(chan error, 1)
	if h.profiles == "" {
		done <- nil
		return done
	}
	go func() { done <- h.save(ctx, "debug/pprof/profile?seconds=20", name) }()
	return done
}

// cpuTime is how much processor time the daemon, its helper and the programs that these have waited for have used.
func (h *host) cpuTime() (time.Duration, error) {
	used, err := processTime(h.Cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", h.Cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		children, _ := os.ReadFile(thread) // none if the thread is gone
		for _, word := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				return 0, err
			}
			more, _ := processTime(pid) // 0 if it is gone: it is among those waited for
			used += more
		}
	}
	return used, nil
}

// processTime is the processor time of a process and of the children it has waited for.
func processTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
