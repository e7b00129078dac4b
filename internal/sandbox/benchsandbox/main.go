// Command benchsandbox measures how long it takes from the wish for an instance to the first byte of its first answer, for every
// way to get one, in rounds that interleave the ways, so that a busy machine is unfair to none.
//
//	go run ./internal/sandbox/benchsandbox [-rounds 40] [-spares 100]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain())
	}
	rounds := flag.Int("rounds", 40, "how often each way is measured")
	spares := flag.Int("spares", 100, "how many spares are made to see what one holds; 0: none")
	flag.Parse()
	if err := private(); err != nil {
		fmt.Fprintln(os.Stderr, "benchsandbox:", err)
		os.Exit(1)
	}
	if err := run(*rounds, *spares); err != nil {
		fmt.Fprintln(os.Stderr, "benchsandbox:", err)
		os.Exit(1)
	}
}

// private runs this program again in its own mount namespace with the version 2 control groups of a hybrid machine covered,
// so that crun can be measured by itself.
func private() error {
	const mark = "BENCHSANDBOX_PRIVATE"
	if os.Getenv(mark) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	err := cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		os.Exit(failed.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("making a mount namespace (are you root?): %w", err)
	}
	os.Exit(0)
	return nil
}

// bench is what the ways have in common.
type bench struct {
	dir    string
	root   string // a root file system with /hello
	m      *sandbox.Manager
	frozen *sandbox.Instance
	port   int // of the machine's loopback, for what runs outside of an instance
	count  int
}

func run(rounds, spares int) error {
	dir, err := os.MkdirTemp("", "benchsandbox-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, root: filepath.Join(dir, "root")}
	build := exec.Command("go", "build", "-o", filepath.Join(b.root, "hello"), "github.com/fairlead-dev/fairlead/internal/sandbox/benchsandbox/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the hello: %w: %s", err, out)
	}
	b.m, err = sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "sandbox"), OrphanAfter: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.m.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	err = b.all(ctx, rounds, spares)
	cancel()
	return errors.Join(err, <-ended)
}

// way is one way to get an instance. It measures itself and takes away what it made.
type way struct {
	name string
	f    func(context.Context) (time.Duration, error)
	took []time.Duration
}

func (b *bench) all(ctx context.Context, rounds, spares int) error {
	var err error
	if b.frozen, err = b.m.Create(ctx, b.spec()); err != nil {
		return err
	}
	if err := errors.Join(b.frozen.Start(ctx), b.frozen.WaitReady(ctx), b.frozen.Freeze(ctx)); err != nil {
		return err
	}
	ways := []*way{
		{name: "bare fork and exec", f: b.bare},
		{name: "thaw", f: b.thaw},
		{name: "spare, wake", f: b.wake},
		{name: "spare, creation alone", f: b.create},
		{name: "create and start", f: b.whole},
	}
	for _, runtime := range []string{"crun", "runc"} {
		if path, err := exec.LookPath(runtime); err == nil {
			ways = append(ways, &way{name: runtime + " run, host network", f: func(ctx context.Context) (time.Duration, error) { return b.runtime(ctx, path) }})
		}
	}
	for n := range rounds {
		for _, w := range ways {
			d, err := w.f(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if n > 0 { // the first round warms caches
				w.took = append(w.took, d)
			}
		}
	}
	if tree, err := cgroup.Open(); err != nil {
		return err
	} else if err := tree.Remove("/fairlead-bench", time.Second); err != nil {
		return err
	}
	fmt.Printf("%-28s %9s %9s %9s   (%d rounds, %s)\n", "to the first byte of a 200", "p50", "p95", "min", rounds-1, b.m.Info().Runtime)
	for _, w := range ways {
		slices.Sort(w.took)
		at := func(p int) string {
			return fmt.Sprintf("%.2f ms", float64(w.took[(len(w.took)-1)*p/100].Microseconds())/1000)
		}
		fmt.Printf("%-28s %9s %9s %9s\n", w.name, at(50), at(95), at(0))
	}
	return b.memory(ctx, spares)
}

func (b *bench) spec() sandbox.Spec {
	return sandbox.Spec{Containers: []sandbox.Container{{
		Name: "app", Lowers: []string{b.root}, Args: []string{"/hello"}, Env: []string{"PORT=8080"},
		Readiness: &sandbox.Probe{TCP: &sandbox.TCPProbe{Port: 8080}},
	}}}
}

// ask asks for one answer over a connection, again and again until there is one.
func ask(dial func() (net.Conn, error)) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := once(dial)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Microsecond)
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

func (b *bench) bare(context.Context) (time.Duration, error) {
	if err := b.nextPort(); err != nil {
		return 0, err
	}
	cmd := exec.Command(filepath.Join(b.root, "hello"))
	cmd.Env = []string{fmt.Sprintf("PORT=%d", b.port)}
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

func (b *bench) thaw(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := errors.Join(b.frozen.Thaw(ctx), b.reach(ctx, b.frozen))
	took := time.Since(began)
	return took, errors.Join(err, b.frozen.Freeze(ctx))
}

func (b *bench) wake(ctx context.Context) (time.Duration, error) {
	i, err := b.m.Create(ctx, b.spec())
	if err != nil {
		return 0, err
	}
	began := time.Now()
	// As the daemon does: it is told of readiness, then sends the first request.
	err = errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i))
	took := time.Since(began)
	return took, errors.Join(err, i.Stop(ctx, 0))
}

func (b *bench) create(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	i, err := b.m.Create(ctx, b.spec())
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, i.Stop(ctx, 0)
}

func (b *bench) whole(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	i, err := b.m.Create(ctx, b.spec())
	if err != nil {
		return 0, err
	}
	err = errors.Join(i.Start(ctx), i.WaitReady(ctx), b.reach(ctx, i))
	took := time.Since(began)
	return took, errors.Join(err, i.Stop(ctx, 0))
}
