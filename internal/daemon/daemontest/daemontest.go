// Package daemontest runs a whole Fairlead for a test: real store, real API, real everything, in a temporary folder
// and on free ports.
//
//	func TestMain(m *testing.M) { daemontest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		d := daemontest.Start(t)
//		client := d.Client(t)
//	}
//
// Start may be called by several tests at once; each daemon has a folder and ports of its own.
package daemontest

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// startTimeout is how long a daemon may take to be ready on a busy machine.
const startTimeout = 2 * time.Minute

// Daemon is a running Fairlead.
type Daemon struct {
	*daemon.Daemon
	Settings *daemon.Settings
	stop     context.CancelFunc
	done     chan error
}

// Start runs a daemon until the test ends; change may alter its settings first. FAIRLEAD_TEST_LOG=1 in the environment
// shows its log. A daemon that does not stop cleanly fails the test.
func Start(t testing.TB, change ...func(*daemon.Settings)) *Daemon {
	t.Helper()
	home, err := os.MkdirTemp("", "fairlead")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("the home folder cannot be removed: %v", err)
		}
	})
	return StartIn(t, home, change...)
}

// StartIn is Start on a home folder that may hold the state of an earlier daemon.
func StartIn(t testing.TB, home string, change ...func(*daemon.Settings)) *Daemon {
	t.Helper()
	settings := daemon.NewSettings()
	settings.Home = home
	for _, address := range []*string{
		&settings.APIListen, &settings.GatewayListen, &settings.GatewayTLSListen, &settings.RegistryListen, &settings.MetricsListen,
	} {
		*address = "127.0.0.1:0"
	}
	settings.LogLevel = "debug"
	settings.Drain = 10 * time.Second
	for _, c := range change {
		c(settings)
	}
	var log io.Writer
	if os.Getenv("FAIRLEAD_TEST_LOG") != "" {
		log = os.Stderr
	}
	inner, err := daemon.New(daemon.Config{Settings: settings, LogOutput: log})
	if err != nil {
		t.Fatalf("make the daemon: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Daemon{Daemon: inner, Settings: settings, stop: stop, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { d.done <- inner.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() { d.Stop(t) })
	select {
	case <-ready:
	case err := <-d.done:
		d.done <- nil
		t.Fatalf("the daemon did not start: %v", err)
	case <-time.After(startTimeout):
		t.Fatalf("the daemon was not ready after %v", startTimeout)
	}
	return d
}

// Stop ends the daemon and waits for it; a second call does nothing.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	if d.stop == nil {
		return
	}
	d.stop()
	d.stop = nil
	if err := <-d.done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the daemon stopped with: %v", err)
	}
}

// RESTConfig is the admin user's way to the API.
func (d *Daemon) RESTConfig(t testing.TB) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}
