// Package e2e_test drives the real fairlead binary, and the real kubectl, the way a person does: each archive in
// testdata is a script of commands with the output it expects. `go test ./test/e2e -update` rewrites golden parts.
//
// A script has a home folder and ports of its own. `daemon` starts `fairlead serve` and waits until it is ready,
// `daemon stop` interrupts it and waits, `daemon kill` is kill -9. `$EXAMPLES` is the folder of examples.
package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the archives")

// patience bounds every wait for a daemon; it is generous because CI machines are slow.
const patience = 2 * time.Minute

// binary is the fairlead under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	var program realdaemon.Program
	var err error
	if binary, err = program.Binary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(program.Run(m))
}

func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// TestForeign runs programs that others wrote, from the Go, npm and Debian archives.
func TestForeign(t *testing.T) {
	if os.Getenv("FAIRLEAD_FOREIGN") == "" {
		t.Skip("downloads programs: FAIRLEAD_FOREIGN=1, or make foreign")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runScripts(t, filepath.Join("testdata", "foreign"))
}

// TestKn drives the daemon with kn, Knative's own command.
func TestKn(t *testing.T) {
	if os.Getenv("FAIRLEAD_KN") == "" {
		t.Skip("needs kn on the PATH: FAIRLEAD_KN=1, or make conformance-kn")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runScripts(t, filepath.Join("testdata", "kn"))
}

// TestGVisor runs services in gVisor.
func TestGVisor(t *testing.T) {
	if os.Getenv("FAIRLEAD_GVISOR") == "" {
		t.Skip("needs runsc on the PATH: FAIRLEAD_GVISOR=1, or make conformance-gvisor")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runScripts(t, filepath.Join("testdata", "gvisor"))
}

func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": daemonCommand,
			"retry":  retryCommand,
			"ask":    askCommand,
			"empty":  emptyCommand,
			"logged": loggedCommand,

			"freeport":   freePortCommand,
			"structured": structuredCommand,
			"refused":    refusedCommand,
			"interrupt":  interruptCommand,
		},
		Condition: func(condition string) (bool, error) {
			switch condition {
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
	})
}

// setup gives a script a home folder and free ports, and lets it build Go programs with the caches of this machine.
func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("FAIRLEAD_HOME", home)
	env.Setenv("KUBECONFIG", filepath.Join(home, "kubeconfig"))
	env.Setenv("EXAMPLES", examples)
	for _, name := range []string{"API", "GATEWAY", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		env.Setenv("FAIRLEAD_"+name+"_LISTEN", "127.0.0.1:0")
	}
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(string(out), "\n")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
		env.Setenv(name, values[i])
	}
	// Where this machine needs a certificate authority of its own to reach npm's registry.
	if authorities := os.Getenv("NODE_EXTRA_CA_CERTS"); authorities != "" {
		env.Setenv("npm_config_cafile", authorities)
	}
	env.Values[daemonKey{}] = &runningDaemon{env: env}
	env.Defer(func() { env.Values[daemonKey{}].(*runningDaemon).end(os.Interrupt) })
	return nil
}

type daemonKey struct{}

// runningDaemon is the `fairlead serve` of a script.
type runningDaemon struct {
	env  *testscript.Env
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan error
}

// daemonCommand is `daemon [start FLAGS...|stop|kill]`.
func daemonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("! daemon is not supported")
	}
	d := ts.Value(daemonKey{}).(*runningDaemon)
	verb := "start"
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "start":
		ts.Check(d.start(environment(ts, d.env.Vars), args))
	case "stop":
		ts.Check(d.end(os.Interrupt))
	case "kill":
		ts.Check(ignoreKilled(d.end(syscall.SIGKILL)))
	default:
		ts.Fatalf("daemon %s: want start, stop or kill", verb)
	}
}

// environment gives the variables of a script as they are now.
func environment(ts *testscript.TestScript, vars []string) []string {
	now := make([]string, len(vars))
	for i, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		now[i] = name + "=" + ts.Getenv(name)
	}
	return now
}

func (d *runningDaemon) start(environment, flags []string) error {
	if d.cmd != nil {
		return errors.New("the daemon runs already")
	}
	d.log, d.done = &lockedBuffer{}, make(chan error, 1)
	cmd := exec.Command(binary, append([]string{"serve"}, flags...)...)
	cmd.Dir, cmd.Env = d.env.WorkDir, environment
	cmd.Stdout, cmd.Stderr = d.log, d.log
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd = cmd
	go func(done chan error) { done <- cmd.Wait() }(d.done)
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-d.done:
			d.cmd = nil
			return fmt.Errorf("the daemon ended: %w\n%s", err, d.log)
		case <-deadline:
			return fmt.Errorf("the daemon is not ready after %v\n%s", patience, d.log)
		case <-tick.C:
			if strings.Contains(d.log.String(), "fairlead: ready") {
				return nil
			}
		}
	}
}

// end signals the daemon and waits for it; without a daemon it does nothing.
func (d *runningDaemon) end(signal os.Signal) error {
	if d.cmd == nil {
		return nil
	}
	cmd := d.cmd
	d.cmd = nil
	if err := cmd.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case err := <-d.done:
		if err != nil {
			return fmt.Errorf("the daemon stopped with: %w\n%s", err, d.log)
		}
		return nil
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		return fmt.Errorf("the daemon did not stop within %v\n%s", patience, d.log)
	}
}

func ignoreKilled(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// retryCommand is `retry COMMAND ARGS...`: it runs a program until it exits with 0, or `! retry`, until it does not.
func retryCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("retry wants a command")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err != nil) == neg {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("retry %v: still %v", args, err)
		case <-tick.C:
		}
	}
}

// askCommand is `ask FILE [PATH]`: it gets the URL in a file from the gateway, by the name in it, and prints the answer.
func askCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: ask FILE [PATH]")
	}
	target := strings.TrimSpace(ts.ReadFile(args[0]))
	if len(args) == 2 {
		target += args[1]
	}
	// *.localhost is the loopback interface wherever there is a resolver for it; the test does without.
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}}
	response, err := client.Get(target)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("%s answered %s: %s", target, response.Status, body)
	}
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}

// emptyCommand is `empty COMMAND ARGS...`: it runs a program until it prints nothing.
func emptyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: empty COMMAND ARGS...")
	}
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		ts.Check(ts.Exec(args[0], args[1:]...))
		if ts.ReadFile("stdout") == "" {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v still prints %s", args, ts.ReadFile("stdout"))
		}
	}
}

// loggedCommand is `logged FILE PATH TEXT COMMAND ARGS...`: it asks for the URL in a file until a program prints a text.
func loggedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: logged FILE PATH TEXT COMMAND ARGS...")
	}
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		askCommand(ts, false, args[:2])
		ts.Check(ts.Exec(args[3], args[4:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[2]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v does not print %q but %s", args[3:], args[2], ts.ReadFile("stdout"))
		}
	}
}

// lockedBuffer collects output while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
