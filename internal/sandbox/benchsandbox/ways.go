package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// way is one way to get an instance. It measures itself and takes away what it made.
type way struct {
	name   string
	f      func(context.Context) (time.Duration, error) // nil: it cannot be gone here
	took   []time.Duration
	failed int
	why    error // of the last failure, or of why it cannot be gone
}

// measure goes the way once. Round 0 warms caches and finds out whether the way can be gone at all.
func (w *way) measure(ctx context.Context, round int) {
	if w.f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	took, err := w.f(ctx)
	switch {
	case err != nil && round == 0:
		w.f, w.why = nil, err
	case err != nil:
		w.failed++
		w.why = err
	case round > 0:
		w.took = append(w.took, took)
	}
}

// table prints what was measured, and of what could not be measured the reason.
func table(ways []*way) {
	fmt.Printf("%-46s %10s %10s %10s\n", "to the first byte of a 200", "p50", "p95", "min")
	for _, w := range ways {
		if len(w.took) == 0 {
			fmt.Printf("%-46s not run: %s\n", w.name, oneLine(w.why))
			continue
		}
		note := ""
		if w.failed > 0 {
			note = fmt.Sprintf("   %d more failed: %s", w.failed, oneLine(w.why))
		}
		fmt.Printf("%-46s %10s %10s %10s%s\n", w.name, at(w.took, 50), at(w.took, 95), at(w.took, 0), note)
	}
}

func oneLine(err error) string {
	if err == nil {
		return "no round"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// at is a percentile.
func at(took []time.Duration, percent int) string {
	sorted := slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%.2f ms", float64(sorted[(len(sorted)-1)*percent/100].Microseconds())/1000)
}

// ways are those of Fairlead, and the floor: a process without anything around it.
func (b *bench) ways(p *program) []*way {
	if p.missing != nil {
		return []*way{{name: p.name, why: p.missing}}
	}
	frozen := &frozen{b: b, p: p}
	all := []*way{
		{name: "bare fork and exec, no isolation", f: func(ctx context.Context) (time.Duration, error) { return b.bare(p) }},
		{name: "thaw of a frozen instance", f: frozen.thaw},
		{name: "wake of a spare", f: func(ctx context.Context) (time.Duration, error) { return b.wake(ctx, p) }},
		{name: "creation of a spare, alone", f: func(ctx context.Context) (time.Duration, error) { return b.create(ctx, p) }},
		{name: "creation and start", f: func(ctx context.Context) (time.Duration, error) { return b.whole(ctx, p) }},
	}
	for _, w := range all {
		w.name = p.name + ": " + w.name
	}
	return all
}

func (b *bench) spec(p *program) sandbox.Spec {
	return sandbox.Spec{Containers: []sandbox.Container{{
		Name: "app", Lowers: []string{p.root}, Args: p.args, Env: []string{"PORT=8080"},
		Readiness: &sandbox.Probe{TCP: &sandbox.TCPProbe{Port: 8080}},
	}}}
}

// ask asks for one answer over a connection, again and again until there is one, each time after a hundredth of the time that has
// passed, so that asking does not slow down what takes long.
func ask(dial func() (net.Conn, error)) error {
	began := time.Now()
	for {
		err := once(dial)
		passed := time.Since(began)
		if err == nil || errors.Is(err, errOver) || passed > 30*time.Second {
			return err
		}
		time.Sleep(max(200*time.Microsecond, passed/100))
	}
}

func once(dial func() (net.Conn, error)) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: hello\r\n\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err == nil && !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") {
		err = fmt.Errorf("answer %q", answer[:n])
	}
	return err
}

func (b *bench) reach(ctx context.Context, i *sandbox.Instance) error {
	return ask(func() (net.Conn, error) { return i.Dial(ctx, 8080) })
}

// nextPort finds a port that nobody has.
func (b *bench) nextPort() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.port = l.Addr().(*net.TCPAddr).Port
	b.count++
	return l.Close()
}

func (b *bench) bare(p *program) (time.Duration, error) {
	if err := b.nextPort(); err != nil {
		return 0, err
	}
	cmd := exec.Command(p.bare[0], p.bare[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", b.port))
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err := ask(func() (net.Conn, error) { return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port)) })
	took := time.Since(began)
	cmd.Process.Kill()
	cmd.Wait()
	return took, err
}

// frozen is one instance that is thawed in every round, made in the first.
type frozen struct {
	b *bench
	p *program
	i *sandbox.Instance
}

func (f *frozen) thaw(ctx context.Context) (time.Duration, error) {
	if f.i == nil {
		i, err := f.b.m.Create(ctx, f.b.spec(f.p))
		if err != nil {
			return 0, err
		}
		if err := errors.Join(i.Start(ctx), i.WaitReady(ctx), i.Freeze(ctx)); err != nil {
			return 0, err
		}
		f.i = i
	}
	began := time.Now()
	err := errors.Join(f.i.Thaw(ctx), f.b.reach(ctx, f.i))
	took := time.Since(began)
	return took, errors.Join(err, f.i.Freeze(ctx))
}

func (b *bench) wake(ctx context.Context, p *program) (time.Duration, error) {
	i, err := b.m.Create(ctx, b.spec(p))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	// As the daemon does: it is told of readiness, then sends the first request.
	err = errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i))
	took := time.Since(began)
	return took, errors.Join(err, i.Stop(ctx, 0))
}

func (b *bench) create(ctx context.Context, p *program) (time.Duration, error) {
	began := time.Now()
	i, err := b.m.Create(ctx, b.spec(p))
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, i.Stop(ctx, 0)
}

func (b *bench) whole(ctx context.Context, p *program) (time.Duration, error) {
	began := time.Now()
	i, err := b.m.Create(ctx, b.spec(p))
	if err != nil {
		return 0, err
	}
	err = errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i))
	took := time.Since(began)
	return took, errors.Join(err, i.Stop(ctx, 0))
}
