package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A child process of these tests writes into the folder that the one variable names until it is killed, or into that which
// the other names until its store ends.
const (
	crashDir = "FAIRLEAD_TEST_STORE_CRASH"
	fillDir  = "FAIRLEAD_TEST_STORE_FILL"
)

func TestMain(m *testing.M) {
	child, dir := writeUntilKilled, os.Getenv(crashDir)
	if dir == "" {
		child, dir = fill, os.Getenv(fillDir)
	}
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// writeUntilKilled runs a store with 16 writers and prints each key when it has been acknowledged.
func writeUntilKilled(dir string) error {
	s, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(context.Background(), func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		return err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	var mu sync.Mutex // one line at a time
	for writer := range 16 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), writer, i)
				if _, err := c.Put(context.Background(), key, strings.Repeat(key, 20)); err != nil {
					return
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		}()
	}
	return <-done
}

// TestKill kills a process that writes with 16 writers, again and again, and wants everything back that was acknowledged.
// FAIRLEAD_TEST_ROUNDS sets the number of rounds.
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	if n, err := strconv.Atoi(os.Getenv("FAIRLEAD_TEST_ROUNDS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range rounds {
		for _, key := range killRound(t, dir, 50+round*37%200) {
			acknowledged[key] = true
		}
		checkKept(t, dir, round, acknowledged)
	}
	t.Logf("%d acknowledged writes kept over %d kills", len(acknowledged), rounds)
}

// killRound starts a writing process, kills it after some acknowledgements and returns all that it printed.
func killRound(t *testing.T, dir string, after int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line cut off by the kill was not acknowledged to anybody
		}
		if strings.HasPrefix(line, "error") {
			t.Fatal(line)
		}
		if keys = append(keys, strings.TrimSpace(line)); len(keys) == after {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(keys) < after {
		t.Fatalf("the writer ended after %d writes", len(keys))
	}
	return keys
}

func checkKept(t *testing.T, dir string, round int, acknowledged map[string]bool) {
	t.Helper()
	s, stop := start(t, Config{Dir: dir})
	defer stop()
	got, err := client(t, s).Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, kv := range got.Kvs {
		values[string(kv.Key)] = string(kv.Value)
	}
	for key := range acknowledged {
		if values[key] != strings.Repeat(key, 20) {
			t.Fatalf("round %d: %s was acknowledged and is %q after the kill", round, key, values[key])
		}
	}
}

// logFile gives the newest segment of a stopped store's log.
func logFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	return files[len(files)-1]
}

func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, Config{Dir: dir})
	c := client(t, s)
	for i := range 100 {
		if _, err := c.Put(t.Context(), fmt.Sprint("key", i), strings.Repeat("v", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(logFile(t, dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("damage", 10)), 50000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fault := runToFault(t, dir)
	if fault.Reason != ReasonDamaged || !strings.Contains(fault.Error(), dir) || !strings.Contains(fault.Try(), "fairlead restore") {
		t.Errorf("%s fault: %v; try: %s", fault.Reason, fault, fault.Try())
	}
}

// runToFault runs a store that must end with a fault.
func runToFault(t *testing.T, dir string) *Fault {
	t.Helper()
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = s.Run(ctx, func() {})
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Fatalf("run: %v, want a fault", err)
	}
	return fault
}

// TestFullDisk fills a small file system while the store writes. It needs to mount one, so it runs as root only.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("cannot mount a small file system (run as root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	home := filepath.Join(dir, "store")
	written := fillChild(t, home)
	written += fillChild(t, home) // what was allocated in advance may still take some
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=512m"); err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, Config{Dir: home})
	got, err := client(t, s).Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(got.Kvs) < written {
		t.Fatalf("%d of %d acknowledged writes are left, %v", len(got.Kvs), written, err)
	}
	t.Logf("%d acknowledged writes kept", written)
}

// fillChild runs fill in a process of its own, because a store that has ended with a fault leaves its files locked until the
// process ends. It returns the number of acknowledged writes.
func fillChild(t *testing.T, dir string) (written int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fillDir+"="+dir)
	out, err := cmd.Output()
	written = strings.Count(string(out), "written")
	if err == nil || !strings.Contains(string(out), "has no disk space left") || !strings.Contains(string(out), "free space") {
		t.Fatalf("after %d writes: %v, said %q", written, err, out)
	}
	return written
}

// fill writes until the store ends, and says for each write that it was acknowledged, and at the end why.
func fill(dir string) error {
	s, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			put, end := context.WithTimeout(ctx, 3*time.Second)
			_, err := c.Put(put, fmt.Sprint(os.Getpid(), "-", i), strings.Repeat("v", 512<<10))
			end()
			if err == nil {
				fmt.Println("written")
				continue
			}
			select {
			case err := <-done:
				return told(err)
			case <-time.After(10 * time.Millisecond): // it was only slow, or has not ended yet
			}
		}
	case err := <-done:
		return told(err)
	}
}

// told adds what to try to a fault.
func told(err error) error {
	var fault *Fault
	if errors.As(err, &fault) {
		return fmt.Errorf("%w; try: %s", err, fault.Try())
	}
	return err
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, Config{Dir: dir, QuotaBytes: 4 << 20, CompactEvery: 200 * time.Millisecond})
	c := client(t, s)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = c.Put(t.Context(), fmt.Sprint("key", i), strings.Repeat("v", 256<<10))
	}
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("writing beyond the quota: %v", err)
	}
	if _, err := c.Delete(t.Context(), "key", clientv3.WithPrefix()); err != nil {
		t.Fatalf("deleting at the quota: %v", err)
	}
	deadline := time.After(time.Minute)
	for tick := time.Tick(50 * time.Millisecond); ; {
		if _, err := c.Put(t.Context(), "again", "v"); err == nil {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("the store takes no writes although there is room again")
		}
	}
}
