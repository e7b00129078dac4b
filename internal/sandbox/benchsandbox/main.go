// Command benchsandbox measures how long it takes from the wish for an instance to the first byte of its first answer, for every
// way to get one, in rounds that interleave the ways, so that a busy machine is unfair to none. With -many it makes so many spares
// and so many running instances at once and says what each holds.
//
//	go run ./internal/sandbox/benchsandbox [-rounds 20] [-spares 100] [-only go] [-many 500]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// options are the flags.
type options struct {
	rounds, spares, many int
	only                 string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain())
	}
	runtime.LockOSThread() // daemons of others that are started here end with this thread
	var o options
	flag.IntVar(&o.rounds, "rounds", 20, "how often each way is measured")
	flag.IntVar(&o.spares, "spares", 100, "how many spares are made to see what one holds; 0: none")
	flag.IntVar(&o.many, "many", 0, "make so many spares and so many running instances, and nothing else")
	flag.StringVar(&o.only, "only", "", "measure one program: go or node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	err := private()
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
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
	dir   string
	m     *sandbox.Manager
	port  int // of the machine's loopback, for what runs outside of an instance
	count int // names what is made
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "benchsandbox-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	b := &bench{dir: dir}
	programs, err := b.programs(o.only)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b.m, err = sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "sandbox"), OrphanAfter: 30 * time.Second, Logger: logger})
	if err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.m.Run(work, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	fmt.Printf("%s; %d processors; load average %s\n", machine(), runtime.NumCPU(), load())
	if o.many > 0 {
		err = b.many(ctx, programs[0], o.many)
	} else {
		err = b.compare(ctx, programs, o)
	}
	cancel()
	return errors.Join(err, <-ended, clear())
}

// remove removes a folder and what engines have left mounted in it.
func remove(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			err = errors.Join(err, unix.Unmount(f[4], unix.MNT_DETACH))
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// clear takes away the control groups of what others ran.
func clear() error {
	tree, err := cgroup.Open()
	if err != nil {
		return err
	}
	return tree.Remove(peersGroup, time.Second)
}

func (b *bench) compare(ctx context.Context, programs []*program, o options) error {
	engines := b.engines(ctx, programs)
	defer engines.stop()
	var ways []*way
	for _, p := range programs {
		ways = append(ways, b.ways(p)...)
		ways = append(ways, b.peers(p, engines)...)
	}
	for n := range o.rounds + 1 {
		for _, w := range ways {
			w.measure(ctx, n)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	fmt.Printf("%d rounds; %s; load average %s\n", o.rounds, b.m.Info().Runtime, load())
	table(ways)
	return b.memory(ctx, programs[0], o.spares)
}

// machine names the kernel.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// load is the load average of the last minute.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg") // a machine without /proc cannot run this
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
