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
		l.add("a", time.Second, j.steady("a"))
		l.add("b", time.Second, j.steady("b"), "a", "disabled")
		l.add("c", time.Second, j.steady("c"), l.names()...)
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

// TestLifecycleStartsSideBySide holds that only parts that need each other wait for each other.
func TestLifecycleStartsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := quiet()
		slow := func(name string) func(context.Context, func()) error {
			return func(ctx context.Context, ready func()) error {
				time.Sleep(time.Second)
				return j.steady(name)(ctx, ready)
			}
		}
		l.add("store", time.Second, slow("store"))
		l.add("api", time.Second, slow("api"), "store")
		l.add("sandbox", time.Second, slow("sandbox"))
		l.add("controller", time.Second, slow("controller"), "api", "sandbox")
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		if err := l.run(ctx, cancel); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("starting took %v, want the 3s of the longest chain", took)
		}
		if want := []string{"stop controller", "stop sandbox", "stop api", "stop store"}; !slices.Equal(j.lines[4:], want) {
			t.Errorf("got %v, want the parts stopped one by one, the last added first", j.lines)
		}
	})
}

// TestLifecycleFailsWhileOthersStart holds that what waits or is still starting is given up when one part fails.
func TestLifecycleFailsWhileOthersStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		l := quiet()
		l.add("slow", time.Second, func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return ctx.Err()
		})
		l.add("bad", time.Second, func(context.Context, func()) error { return boom })
		l.add("last", time.Second, func(context.Context, func()) error {
			t.Error("the last part was started")
			return nil
		}, "slow", "bad")
		err := l.run(t.Context(), func() { t.Error("ready was called") })
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "bad: boom") {
			t.Errorf("got %v, want the error of the bad part with its name", err)
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
				l.add("second", time.Second, run, "first")
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
