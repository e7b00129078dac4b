package main

import (
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
	if err := b.nextPort(); err != nil {
		return 0, err
	}
	id := "bench-" + strconv.Itoa(b.count)
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
	said, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return 0, err
	}
	defer said.Close()
	cmd.Stderr = said
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
	late := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait() // it was killed, and removes what it made
	if late.Stop() && err == nil && kerr == nil {
		return took, nil
	}
	// The kill came too early for the runtime: its own way to clear up.
	if out, derr := exec.CommandContext(ctx, path, "--root", filepath.Join(b.dir, "peer"), "delete", "--force", id).CombinedOutput(); derr != nil {
		kerr = errors.Join(kerr, fmt.Errorf("%w: %s", derr, out))
	}
	if err != nil {
		reason, _ := os.ReadFile(said.Name()) // without it the error stands alone
		err = fmt.Errorf("%w: %s", err, reason)
	}
	return took, errors.Join(err, kerr)
}

// memory makes many spares and says what one of them holds: in its control group, and in this process and the helper.
func (b *bench) memory(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	before, err := resident()
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
	after, err := resident()
	if err != nil {
		return err
	}
	groups := int64(0)
	for _, i := range all {
		u, err := i.Usage()
		if err != nil {
			return err
		}
		groups += u.MemoryBytes
	}
	mb := func(bytes int64) float64 { return float64(bytes) / float64(n) / (1 << 20) }
	fmt.Printf("%d spares one after the other: %.1f ms each; memory of each: %.2f MB in its control group, %.2f MB in the daemon and the helper\n",
		n, float64(took.Milliseconds())/float64(n), mb(groups), mb(after-before))
	for _, i := range all {
		if err := i.Stop(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// resident is the memory of this process and of its children, in bytes: the helper is one, what it holds are not.
func resident() (int64, error) {
	self := os.Getpid()
	procs, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		values := map[string]int{}
		for line := range strings.Lines(string(data)) {
			name, rest, _ := strings.Cut(line, ":")
			if f := strings.Fields(rest); len(f) > 0 {
				values[name], _ = strconv.Atoi(f[0]) // names and masks are no numbers, and not asked for
			}
		}
		if values["Pid"] == self || values["PPid"] == self {
			sum += int64(values["VmRSS"]) << 10
		}
	}
	return sum, nil
}
