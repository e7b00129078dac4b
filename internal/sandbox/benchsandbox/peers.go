package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
)

// runtime measures an OCI runtime by itself, with the configuration that Fairlead gives it, but on the machine's network.
func (b *bench) runtime(ctx context.Context, path string) (time.Duration, error) {
	b.port++
	id := "bench-" + strconv.Itoa(b.port)
	dir := filepath.Join(b.dir, id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	spec, err := bundle.Spec(bundle.Input{
		Args: []string{"/hello"}, Env: []string{fmt.Sprintf("PORT=%d", b.port)}, RootFS: b.root, CgroupPath: "/fairlead-bench/" + id,
	})
	if err != nil {
		return 0, err
	}
	var kept []specs.LinuxNamespace
	for _, n := range spec.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			kept = append(kept, n)
		}
	}
	spec.Linux.Namespaces = kept
	data, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, path, "--root", filepath.Join(b.dir, "peer"), "run", "--bundle", dir, id)
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = ask(func() (net.Conn, error) { return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port)) })
	took := time.Since(began)
	out, kerr := exec.CommandContext(ctx, path, "--root", filepath.Join(b.dir, "peer"), "kill", id, "KILL").CombinedOutput()
	if kerr != nil {
		kerr = fmt.Errorf("%w: %s", kerr, out)
	}
	cmd.Wait() // it was killed, and removes what it made
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return took, errors.Join(err, kerr)
}

// memory makes many spares and says what one of them holds.
func (b *bench) memory(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	before, err := available()
	if err != nil {
		return err
	}
	began := time.Now()
	var all []*sandbox.Instance
	for range n {
		i, err := b.m.Create(ctx, b.spec())
		if err != nil {
			return err
		}
		all = append(all, i)
	}
	took := time.Since(began)
	after, err := available()
	if err != nil {
		return err
	}
	fmt.Printf("%d spares one after the other: %.1f ms and %.2f MB each\n", n, float64(took.Milliseconds())/float64(n), float64(before-after)/float64(n)/1024)
	for _, i := range all {
		if err := i.Stop(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// available is the machine's free memory in kB.
func available() (int, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, errors.New("/proc/meminfo says nothing of MemAvailable")
}
