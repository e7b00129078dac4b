package sandbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// Manager makes instances and keeps account of them.
type Manager struct {
	cfg      Config
	log      *slog.Logger
	tree     *cgroup.Tree
	drivers  drivers
	dialer   *netns.Dialer
	metrics  *metrics
	names    *names
	past     *endedLogs
	openFile uint64 // limit of open files of a container
	owners   sync.WaitGroup
	keep     atomic.Bool     // leave the instances alone at the end
	quiet    atomic.Bool     // what instances open is not accepted any more
	ended    <-chan struct{} // closed when a helper that Run started has ended; nil: it was there before. Only Run uses it.

	mu        sync.Mutex
	helper    *helper.Client       // nil: Run is not running
	closing   chan struct{}        // closed when Run is ending
	lost      chan struct{}        // closed when the helper is gone
	owned     map[string]*Instance // every ID in use, with nil or the instance that is told of exits
	instances map[string]*Instance // those that are complete
	noUsers   string               // why this machine gives no user namespaces; empty: it is not known to refuse them
	told      map[string]bool      // reasons for having no user namespace that were logged
}

// Info says what a Manager works with, for people.
type Info struct {
	Runtime  string            // the driver used where a Spec does not say
	Binaries map[string]string // driver to path of what is installed
	Cgroups  string            // "v1", "hybrid", "v2" or "none"
	Missing  []string          // what this machine cannot do, one sentence each
}

// New checks the machine and the configuration. It starts nothing: instances can be made once Run is running. The error is
// ErrRuntimeMissing if the machine has no runtime that was asked for.
func New(cfg Config) (*Manager, error) {
	if cfg.Dir == "" {
		return nil, errors.New("sandbox: no folder is configured")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Logger, dialer: netns.NewDialer(), owned: map[string]*Instance{}, instances: map[string]*Instance{}, told: map[string]bool{}}
	m.past = &endedLogs{dir: m.LogDir("")}
	m.keep.Store(cfg.Keep)
	if m.drivers, err = findDrivers(cfg.Runtime); err != nil {
		return nil, err
	}
	if m.tree, err = cgroup.Open(); err != nil {
		return nil, err
	}
	if m.tree.Delegated() {
		if err := m.tree.Make(cfg.CgroupParent); err != nil {
			m.log.Warn("the control groups of this user cannot be used", "err", err)
			m.tree = m.tree.Without()
		}
	}
	if m.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	for _, sub := range []string{"instances", "logs", "runtime"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the sandbox folder: %w", err)
		}
	}
	if m.names, err = openNames(filepath.Join(dir, "names")); err != nil {
		return nil, err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		m.openFile = min(limit.Max, 1<<20)
	}
	return m, nil
}

func (c *Config) setDefaults() error {
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program's own file: %w", err)
		}
		c.Executable = exe
	}
	// Two daemons with folders of their own do not meet in the control groups.
	sum := sha256.Sum256([]byte(c.Dir))
	c.CgroupParent = filepath.Join("/", cmp.Or(c.CgroupParent, "fairlead"), hex.EncodeToString(sum[:4]))
	c.UserNamespace = cmp.Or(c.UserNamespace, UsersAuto)
	c.WritableBytes = cmp.Or(c.WritableBytes, 1<<30)
	c.Pids = cmp.Or(c.Pids, 4096)
	c.LogBytes = cmp.Or(c.LogBytes, 16<<20)
	c.StopGrace = cmp.Or(c.StopGrace, 30*time.Second)
	c.OrphanAfter = cmp.Or(c.OrphanAfter, 10*time.Minute)
	c.MeasureEvery = cmp.Or(c.MeasureEvery, 10*time.Second)
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Info says what the Manager works with.
func (m *Manager) Info() Info {
	info := Info{Runtime: m.drivers.preferred, Binaries: m.drivers.binaries, Cgroups: string(m.tree.Mode())}
	if helper.Rootless() {
		info.Missing = append(info.Missing, rootlessMissing(m.tree.Mode() != cgroup.None)...)
	} else if m.tree.Mode() == cgroup.None {
		info.Missing = append(info.Missing, "no control groups are mounted: memory, CPU and process limits are not enforced")
	}
	if m.tree.Mode() != cgroup.None && !m.tree.CanFreeze() {
		info.Missing = append(info.Missing, "control groups have no freezer here: instances are frozen by SIGSTOP, which their programs can notice")
	}
	if m.drivers.preferred == "process" {
		info.Missing = append(info.Missing, processConfinement().String())
	}
	if m.cfg.UserNamespace == UsersOff {
		info.Missing = append(info.Missing, "user namespaces are turned off: root in an instance is the machine's, without its powers")
	}
	if os.Getuid() != 0 {
		info.Missing = append(info.Missing, "this is not root: instances cannot be isolated")
	}
	return info
}

// Run connects to the helper that is still there, or starts one, adopts or clears what it finds, calls ready and blocks until ctx
// ends. Then it stops all instances and the helper, or leaves both alone if Config.Keep is set.
func (m *Manager) Run(ctx context.Context, ready func()) error {
	defer m.names.close()
	const tries = 5
	for n := 1; ; n++ {
		began := false
		err := m.serve(ctx, func() {
			began = true
			if ready != nil {
				ready()
			}
		})
		// A helper that was killed just now may still take a connection.
		if began || n == tries || !errors.Is(err, helper.ErrLost) || !wait(ctx, time.Duration(n)*50*time.Millisecond) {
			return err
		}
	}
}

// serve is Run with one helper.
func (m *Manager) serve(ctx context.Context, ready func()) error {
	conn, err := m.connect(ctx)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var services sync.WaitGroup
	services.Go(func() { m.dialer.Run(work) })
	lost := make(chan struct{})
	services.Go(func() {
		if err := conn.Run(work, m.exited); err != nil {
			if ctx.Err() != nil && !m.keep.Load() {
				return // it was told to end
			}
			m.log.Error("the sandbox helper is gone and all instances with it", "err", err)
			close(lost)
		}
	})
	m.open(conn, lost)
	err = m.adopt(ctx, conn)
	if err == nil {
		err = m.past.load(m.used)
	}
	if err != nil {
		m.close()
		m.owners.Wait()
		cancel()
		services.Wait()
		return fmt.Errorf("sandbox: %w", err)
	}
	for _, missing := range m.Info().Missing {
		m.log.Warn(missing)
	}
	ready()
	select {
	case <-ctx.Done():
		err = nil
	case <-lost:
		err = helper.ErrLost
	}
	m.close()
	m.owners.Wait()
	if err == nil && !m.keep.Load() {
		err = m.endHelper(conn)
	}
	cancel()
	services.Wait()
	if errors.Is(err, helper.ErrLost) {
		if m.ended != nil {
			<-m.ended
		}
		err = errors.Join(err, m.clear())
	}
	return err
}

func (m *Manager) open(conn *helper.Client, lost chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.helper, m.lost, m.closing = conn, lost, make(chan struct{})
}

func (m *Manager) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.helper = nil
	close(m.closing)
}

// endHelper ends the helper, which holds nothing any more.
func (m *Manager) endHelper(conn *helper.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := conn.Shutdown(ctx); err != nil && !errors.Is(err, helper.ErrLost) {
		return err
	}
	ended := m.ended
	if ended == nil {
		ended = conn.Done()
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return errors.New("the sandbox helper does not end")
	}
	return m.clear()
}

// Get gives the instance of an ID; ErrNotFound if there is none or it is gone.
func (m *Manager) Get(id string) (*Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.instances[id]; i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("instance %s: %w", id, ErrNotFound)
}

// Instances gives all instances that are not gone, by ID.
func (m *Manager) Instances() []*Instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Instance
	for _, i := range m.instances {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *Instance) int { return cmp.Compare(a.id, b.id) })
	return all
}

// exited hands the end of a container to the owner of its instance.
func (m *Manager) exited(e helper.Event) {
	m.mu.Lock()
	i := m.owned[e.Instance]
	m.mu.Unlock()
	if i == nil {
		return
	}
	i.exits <- e // has room for one exit of every container, and each is created anew only after its exit was read
}

// used tells whether an ID is that of an instance which is not gone.
func (m *Manager) used(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, used := m.owned[id]
	return used
}

func (m *Manager) forget(i *Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.instances, i.id)
	delete(m.owned, i.id)
}

// HelperArg is the first argument with which this program runs as the helper. A main function, or TestMain, that wants to use a
// Manager begins with:
//
//	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
//		os.Exit(sandbox.HelperMain())
//	}
const HelperArg = "__sandbox-helper"

// HelperMain runs the helper and gives its exit code.
func HelperMain() int {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "this command is used by Fairlead itself")
		return 2
	}
	return helper.Main(os.Args[2])
}
