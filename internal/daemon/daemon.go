// Package daemon wires Fairlead's components into one process: it reads the settings, takes the lock of the home
// folder, starts the components in order and stops them in reverse order, each with a drain time of its own.
//
//	settings := daemon.NewSettings()
//	settings.Home = dir
//	d, err := daemon.New(daemon.Config{Settings: settings, LogOutput: os.Stderr})
//	...
//	err = d.Run(ctx, func() { fmt.Println("ready", d.Kubeconfig()) })
//
// One daemon owns its home folder; a second one on the same folder is refused with ErrHomeInUse.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// optionalComponents are those that `--disable` accepts.
var optionalComponents = []string{"registry", "sandbox", "gateway", "controller", "metrics"}

// gcPercent is how much the heap may grow between two collections, in percent of what is alive.
const gcPercent = 50

// startGCPercent is the same until the daemon is ready: a start makes much that stays, and collecting in the midst of it takes a third
// of its time.
const startGCPercent = 400

// Config is what a daemon is made of.
type Config struct {
	Settings *Settings
	// Takeover asks a daemon that uses the same home folder to leave, with its instances and ports, and waits until it has.
	Takeover bool
	// LogOutput receives the log; nil discards it.
	LogOutput io.Writer
}

// Daemon is one Fairlead process. New, then Run once.
type Daemon struct {
	settings  *Settings
	logger    *slog.Logger
	lock      *homeLock
	parts     lifecycle
	addresses atomic.Pointer[Addresses]
	metrics   *catalog
	keep      atomic.Bool // leave instances and ports to a successor at the end
	sandboxes *sandbox.Manager
}

// Addresses are where a running daemon really listens, in the form host:port; empty where a component is disabled.
type Addresses struct {
	API, Gateway, GatewayTLS, Registry, Metrics string
}

// New checks the settings, takes the lock of the home folder and opens every component. It starts nothing.
func New(cfg Config) (*Daemon, error) {
	d := &Daemon{settings: cfg.Settings, logger: newLogger(cfg.Settings, cfg.LogOutput)}
	if err := os.MkdirAll(d.settings.Home, 0o700); err != nil {
		return nil, advise(fmt.Errorf("home folder: %w", err), "name a folder you may write to with --home")
	}
	lock, err := lockHome(d.settings.Home)
	if cfg.Takeover && errors.Is(err, ErrHomeInUse) {
		lock, err = succeed(d.settings.Home, d.settings.Drain+time.Minute)
	}
	if err != nil {
		return nil, err
	}
	d.lock = lock
	d.keep.Store(cfg.Settings.KeepInstances)
	d.parts.logger = d.logger
	if err := d.wire(); err != nil {
		lock.release()
		return nil, err
	}
	return d, nil
}

// Run starts everything, calls ready, and blocks until ctx ends or a component fails; then it drains and returns.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	defer d.lock.release()
	// Most of the heap are caches of objects that change little: collecting sooner costs little time and saves a third of
	// what the process holds. GOGC in the environment goes before it.
	settled := func() {}
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(startGCPercent))
		settled = func() {
			debug.SetGCPercent(gcPercent)
			go pace(ctx)
		}
	}
	return d.parts.run(ctx, func() {
		settled()
		go giveBack(ctx)
		d.logger.Info("ready", "home", d.settings.Home)
		if _, err := sdnotify.SdNotify(false, sdnotify.SdNotifyReady); err != nil {
			d.logger.Warn("systemd was not told", "err", err)
		}
		ready()
	})
}

// Bequeath makes the end of this daemon leave its instances and ports to a successor, whatever the settings say.
func (d *Daemon) Bequeath() {
	d.keep.Store(true)
	if d.sandboxes != nil {
		d.sandboxes.Keep(true)
	}
}

// Kubeconfig is the file with the address, the certificate and the token of the admin user.
func (d *Daemon) Kubeconfig() string { return filepath.Join(d.settings.Home, "kubeconfig") }

// Addresses gives where the daemon listens; call it after ready.
func (d *Daemon) Addresses() Addresses {
	if a := d.addresses.Load(); a != nil {
		return *a
	}
	return Addresses{}
}

// path names a file or folder in the home folder.
func (d *Daemon) path(elements ...string) string {
	return filepath.Join(append([]string{d.settings.Home}, elements...)...)
}

func newLogger(s *Settings, out io.Writer) *slog.Logger {
	if out == nil {
		return slog.New(slog.DiscardHandler)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
