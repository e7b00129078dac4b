package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal notes what happens to parts, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) steady(name string) func(context.Context, func()) error {
	return func(ctx context.Context, ready func()) error {
		j.note("start " + name)
		ready()
		<-ctx.Done()
		j.note("stop " + name)
		return nil
	}
}

func quiet() lifecycle { return lifecycle{logger: slog.New(slog.DiscardHandler)} }

func TestLifecycleOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := quiet()
		for _, name := range []string{"a", "b", "c"} {
			l.add(name, time.Second, j.steady(name))
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := l.run(ctx, cancel); err != nil {
			t.Fatal(err)
		}
		want := []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}
		if !slices.Equal(j.lines, want) {
			t.Errorf("got %v, want %v", j.lines, want)
		}
	})
}

func TestLifecycleNamesWhatFails(t *testing.T) {
	boom := errors.New("boom")
	for name, run := range map[string]func(context.Context, func()) error{
		"before ready": func(context.Context, func()) error { return boom },
		"after ready": func(_ context.Context, ready func()) error {
			ready()
			time.Sleep(time.Minute)
			return boom
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				l := quiet()
				l.add("first", time.Second, j.steady("first"))
				l.add("second", time.Second, run)
				err := l.run(t.Context(), func() {})
				if !errors.Is(err, boom) || !strings.Contains(err.Error(), "second: boom") {
					t.Errorf("got %v, want the error of the second part with its name", err)
				}
				if want := []string{"start first", "stop first"}; !slices.Equal(j.lines, want) {
					t.Errorf("got %v, want %v", j.lines, want)
				}
			})
		})
	}
}

func TestLifecycleNamesWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := quiet()
		l.add("first", time.Second, j.steady("first"))
		release := make(chan struct{})
		l.add("stubborn", 5*time.Second, func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		err := l.run(ctx, cancel)
		if err == nil || !strings.Contains(err.Error(), "stubborn did not stop within 5s") {
			t.Errorf("got %v, want the stubborn part named", err)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("stopping took %v, want the drain time of 5s", took)
		}
		if want := []string{"start first", "stop first"}; !slices.Equal(j.lines, want) {
			t.Errorf("got %v: a part that hangs must not keep the others from stopping", j.lines)
		}
		close(release)
	})
}

func TestLifecycleStoppedWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quiet()
		l.add("slow", time.Second, func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.run(ctx, func() { t.Error("ready was called") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the cause", err)
		}
	})
}
