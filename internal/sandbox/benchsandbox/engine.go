package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// engine is a container engine with a folder of its own for everything it keeps.
type engine struct {
	name string
	why  error    // why it cannot be used here
	base []string // its command with the options that come before every subcommand
	run  func(p *program, id string, port int) []string
	kill func(id string) []string
	load func(p *program) []string
}

// engines are the engines that are measured and the daemons that were started for them.
type engines struct {
	podman, docker, ctr *engine
	daemons             []*exec.Cmd
	group               string // the control group that they put containers into
}

// engines starts what is installed and loads the images. What does not work says why in its row.
func (b *bench) engines(ctx context.Context, programs []*program) *engines {
	e := &engines{group: peersGroup}
	dir := filepath.Join(b.dir, "engines")
	socket := filepath.Join(dir, "containerd.sock")
	down := e.containerd(ctx, dir, socket)
	e.podman = e.newPodman(dir)
	e.ctr = e.newCtr(socket, down)
	e.docker = e.newDocker(ctx, dir, socket, down)
	for _, x := range []*engine{e.podman, e.docker, e.ctr} {
		for _, p := range programs {
			if x.why != nil || p.missing != nil {
				continue
			}
			x.why = x.call(ctx, x.load(p))
		}
	}
	return e
}

func (e *engines) newPodman(dir string) *engine {
	root := filepath.Join(dir, "podman")
	x := &engine{name: "podman", base: []string{"podman", "--root", root, "--runroot", root + "-run", "--tmpdir", root + "-tmp", "--cgroup-manager", "cgroupfs"}}
	_, x.why = exec.LookPath("podman")
	x.load = func(p *program) []string { return []string{"load", "--quiet", "--input", p.archive} }
	// By itself it asks for more open files and processes than even root may have on some machines.
	limits := []string{"--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"}
	x.run = func(p *program, id string, port int) []string {
		run := append([]string{"run", "--rm", "--pull=never", "--network=host", "--cgroup-parent", e.group}, limits...)
		return append(run, "--name", id, "--env", portVariable(port), p.tag)
	}
	x.kill = func(id string) []string { return []string{"kill", id} }
	return x
}

func (e *engines) newDocker(ctx context.Context, dir, containerd string, down error) *engine {
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	x := &engine{name: "docker", base: []string{"docker", "--host", socket}}
	_, missing := exec.LookPath("docker")
	_, noDaemon := exec.LookPath("dockerd")
	x.why = errors.Join(missing, noDaemon, down)
	x.load = func(p *program) []string { return []string{"load", "--quiet", "--input", p.archive} }
	x.run = func(p *program, id string, port int) []string {
		return []string{"run", "--rm", "--network=host", "--name", id, "--env", portVariable(port), p.tag}
	}
	x.kill = func(id string) []string { return []string{"kill", id} }
	if x.why != nil {
		return x
	}
	root := filepath.Join(dir, "docker")
	config := filepath.Join(dir, "dockerd.json")
	if x.why = os.WriteFile(config, []byte("{}"), 0o600); x.why != nil {
		return x
	}
	x.why = e.daemon(ctx, filepath.Join(dir, "dockerd.log"), func() error { return x.call(ctx, []string{"version"}) },
		"dockerd", "--config-file", config, "--host", socket, "--containerd", containerd, "--data-root", root, "--exec-root", root+"-run",
		"--pidfile", filepath.Join(dir, "dockerd.pid"), "--cgroup-parent", e.group, "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false")
	return x
}

func (e *engines) newCtr(containerd string, down error) *engine {
	x := &engine{name: "ctr", base: []string{"ctr", "--address", containerd, "--namespace", "benchsandbox"}, why: down}
	if x.why == nil {
		_, x.why = exec.LookPath("ctr")
	}
	x.load = func(p *program) []string { return []string{"images", "import", p.archive} }
	x.run = func(p *program, id string, port int) []string {
		return []string{"run", "--rm", "--net-host", "--cgroup", e.group + "/" + id, "--env", portVariable(port), p.tag, id}
	}
	x.kill = func(id string) []string { return []string{"tasks", "kill", "--signal", "SIGKILL", id} }
	return x
}

func portVariable(port int) string { return "PORT=" + strconv.Itoa(port) }

// containerd starts the daemon that both docker and ctr use.
func (e *engines) containerd(ctx context.Context, dir, socket string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		return err
	}
	config := filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = %q
[plugins."io.containerd.internal.v1.opt"]
path = %q
`, filepath.Join(dir, "containerd"), filepath.Join(dir, "containerd-run"), socket, filepath.Join(dir, "containerd-opt"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	answers := func() error {
		out, err := exec.CommandContext(ctx, "ctr", "--address", socket, "version").CombinedOutput()
		return said(err, out)
	}
	return e.daemon(ctx, filepath.Join(dir, "containerd.log"), answers, "containerd", "--config", config)
}

// daemon starts a daemon and waits until it answers.
func (e *engines) daemon(ctx context.Context, logFile string, answers func() error, name string, args ...string) error {
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := answers()
		if err == nil {
			e.daemons = append(e.daemons, cmd)
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %s", name, lastLine(logFile))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			cmd.Process.Kill()
			return fmt.Errorf("%s does not answer: %w; its log ends with: %s", name, err, lastLine(logFile))
		}
	}
}

func lastLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	data = bytes.TrimSpace(data)
	return string(data[bytes.LastIndexByte(data, '\n')+1:])
}

// stop ends the daemons, the last first.
func (e *engines) stop() {
	for n := len(e.daemons) - 1; n >= 0; n-- {
		cmd := e.daemons[n]
		cmd.Process.Signal(unix.SIGTERM)
		for deadline := time.Now().Add(15 * time.Second); cmd.Process.Signal(syscall.Signal(0)) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				cmd.Process.Kill()
			}
		}
	}
}

// command is one call of the engine's command.
func (x *engine) command(ctx context.Context, args []string) *exec.Cmd {
	all := append(x.base[1:len(x.base):len(x.base)], args...)
	return exec.CommandContext(ctx, x.base[0], all...)
}

func (x *engine) call(ctx context.Context, args []string) error {
	out, err := x.command(ctx, args).CombinedOutput()
	return said(err, out)
}

// said adds what a command printed to its error.
func said(err error, out []byte) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
}

// engine measures the run command of an engine.
func (b *bench) engine(ctx context.Context, x *engine, p *program) (time.Duration, error) {
	if err := b.nextPort(); err != nil {
		return 0, err
	}
	id := "benchsandbox-" + strconv.Itoa(b.count)
	cmd := x.command(ctx, x.run(p, id, b.port))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := ask(func() (net.Conn, error) {
		select {
		case err := <-ended:
			ended <- err
			return nil, fmt.Errorf("%w: %v", errOver, err)
		default:
			return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		}
	})
	took := time.Since(began)
	if errors.Is(err, errOver) {
		return 0, said(err, out.Bytes())
	}
	kerr := x.call(ctx, x.kill(id))
	select {
	case <-ended: // it was killed, so it is no error that it says so
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		kerr = errors.Join(kerr, fmt.Errorf("%s run does not end", x.name))
	}
	return took, errors.Join(err, kerr)
}

// errOver: what should answer has ended.
var errOver = errors.New("it has ended")
