package sandbox_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain())
	}
	if err := errors.Join(becomeRootOfUsers(), hideFreezer()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if payload.dir != "" {
		os.RemoveAll(payload.dir)
	}
	os.Exit(code)
}

var payload struct {
	once sync.Once
	dir  string
	err  error
}

// rootFS gives a root file system with the program testdata/payload and little else.
func rootFS(t testing.TB) string {
	t.Helper()
	payload.once.Do(func() {
		payload.dir, payload.err = os.MkdirTemp("", "payload-")
		if payload.err != nil {
			return
		}
		os.Chmod(payload.dir, 0o755)
		etc := filepath.Join(payload.dir, "etc")
		os.Mkdir(etc, 0o755)
		os.WriteFile(filepath.Join(etc, "passwd"), []byte("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n"), 0o644)
		os.WriteFile(filepath.Join(etc, "group"), []byte("root:x:0:\nweb:x:1001:\nextra:x:1002:web\n"), 0o644)
		cmd := exec.Command("go", "build", "-o", filepath.Join(payload.dir, "payload"), "./testdata/payload")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			payload.err = fmt.Errorf("building the payload: %w: %s", err, out)
		}
	})
	if payload.err != nil {
		t.Fatal(payload.err)
	}
	return payload.dir
}

// needRoot skips a test that a machine without the means cannot run.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("instances need root here")
	}
	if _, err := exec.LookPath("crun"); err != nil {
		if _, err := exec.LookPath("runc"); err != nil {
			t.Skip("neither crun nor runc is installed")
		}
	}
}

type testManager struct {
	*sandbox.Manager
	stop func()
}

// start runs a Manager until the end of the test.
func start(t testing.TB, cfg sandbox.Config) *testManager {
	t.Helper()
	needRoot(t)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Runtime = cmp.Or(cfg.Runtime, os.Getenv("SANDBOX_TEST_RUNTIME"))
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	m, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- m.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return &testManager{m, stop}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// web is a Spec of the payload as a web server on port 8080.
func web(t testing.TB, change ...func(*sandbox.Spec)) sandbox.Spec {
	s := sandbox.Spec{Containers: []sandbox.Container{{
		Name: "app", Lowers: []string{rootFS(t)}, Args: []string{"/payload"}, Env: []string{"PORT=8080"},
		Readiness: &sandbox.Probe{TCP: &sandbox.TCPProbe{Port: 8080}},
	}}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func create(t testing.TB, m *testManager, s sandbox.Spec) *sandbox.Instance {
	t.Helper()
	i, err := m.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func startReady(t testing.TB, m *testManager, s sandbox.Spec) *sandbox.Instance {
	t.Helper()
	i := create(t, m, s)
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ready(t, i)
	return i
}

func ready(t testing.TB, i *sandbox.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := i.WaitReady(ctx); err != nil {
		t.Fatalf("not ready: %v; state %+v", err, i.State())
	}
}

// until waits for a state.
func until(t testing.TB, i *sandbox.Instance, what string, ok func(sandbox.State) bool) sandbox.State {
	t.Helper()
	states, stop := i.Subscribe()
	defer stop()
	timeout := time.After(time.Minute)
	for {
		select {
		case s := <-states:
			if ok(s) {
				return s
			}
		case <-timeout:
			t.Fatalf("%s never came; state %+v", what, i.State())
		}
	}
}

func get(t testing.TB, i *sandbox.Instance, path string) (string, error) {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx, 8080) },
	}}
	resp, err := client.Get("http://instance" + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// inside has the payload try something and gives what it says.
func inside(t testing.TB, i *sandbox.Instance, what string, args ...string) string {
	t.Helper()
	out, err := get(t, i, "/run?"+url.Values{"do": {what}, "arg": args}.Encode())
	if err != nil {
		t.Fatalf("%s %q: %v", what, args, err)
	}
	return strings.TrimSpace(out)
}
