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
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
)

// peersGroup is the control group of what others run.
const peersGroup = "/fairlead-bench"

// peers are the ways of others. All run the program on the machine's network, which is the quickest that each of them has.
func (b *bench) peers(p *program, e *engines) []*way {
	if p.missing != nil {
		return nil
	}
	var all []*way
	add := func(name string, why error, f func(context.Context) (time.Duration, error)) {
		w := &way{name: p.name + ": " + name + ", host network", f: f}
		if why != nil {
			w.f, w.why = nil, why
		}
		all = append(all, w)
	}
	for _, runtime := range []string{"crun", "runc"} {
		path, err := exec.LookPath(runtime)
		add(runtime+" run", err, func(ctx context.Context) (time.Duration, error) { return b.runtime(ctx, path, p) })
	}
	for _, x := range []*engine{e.podman, e.docker, e.ctr} {
		add(x.name+" run", x.why, func(ctx context.Context) (time.Duration, error) { return b.engine(ctx, x, p) })
	}
	return all
}

// runtime measures an OCI runtime by itself, with the configuration that Fairlead gives it, but on the machine's network.
func (b *bench) runtime(ctx context.Context, path string, p *program) (time.Duration, error) {
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
		Args: p.args, Env: []string{fmt.Sprintf("PORT=%d", b.port)}, RootFS: p.root, CgroupPath: peersGroup + "/" + id,
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
