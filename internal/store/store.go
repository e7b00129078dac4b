package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// socketName is the client socket's name in the folder.
	socketName = "etcd.sock"

	// The only member of a cluster waits for nobody, so its clock can tick fast: it leads 200 ms after the start.
	heartbeat = 20 * time.Millisecond
	election  = 200 * time.Millisecond

	// progressEvery is how often a watch that asks for it is told how far the store has got; the API's bookmarks come from it.
	progressEvery = time.Minute

	// segmentBytes is the size at which a log segment is cut. Segments are allocated in advance, so upstream's
	// 64 MB would cost a quiet machine 128 MB of disk and a slow first start.
	segmentBytes = 8 << 20

	// DefaultQuotaBytes is the size the database may reach when Config does not say.
	DefaultQuotaBytes = 4 << 30

	// MaxRequestBytes is the largest single write. It is above the API's limit for one object (3 MB), so that
	// the API's own error is the one that users see.
	MaxRequestBytes = 8 << 20

	// peerName stands in the member list; it has to look like an address, and nothing ever listens on it.
	peerName = "127.0.0.1:2380"

	closeTimeout = 10 * time.Second
	// faultTimeout is how long a store may take to close that has broken: some of what it would wait for is gone.
	faultTimeout = time.Second
)

// Config says where a Store lives and how large it may grow. Dir is required; every other zero value works.
type Config struct {
	// Dir is the folder; it is made, with mode 0700, where it is missing. Nothing else may write in it.
	Dir string
	// QuotaBytes limits the database file; 0 is DefaultQuotaBytes. At the limit writes are refused and deletions
	// are still taken.
	QuotaBytes int64
	// CompactEvery is the age at which old versions of objects are forgotten, and how often that is done; 0 is five
	// minutes. Watches that resume from an older version get "410 Gone" and list again.
	CompactEvery time.Duration
	// Logger gets etcd's own lines too, at debug unless they are warnings; nil discards.
	Logger *slog.Logger
	// Registerer gets the metrics; nil keeps them private.
	Registerer prometheus.Registerer
}

// Store is one embedded etcd.
type Store struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	lock    *os.File
	dir     *os.File // keeps the short socket path alive
	faults  chan *Fault
}

// New makes the folder, takes its lock and checks it. It starts nothing and opens no socket.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("store: Config.Dir is empty")
	}
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = DefaultQuotaBytes
	}
	if cfg.CompactEvery == 0 {
		cfg.CompactEvery = 5 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("store: find folder %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make folder %s: %w", dir, err)
	}
	s := &Store{cfg: cfg, log: cfg.Logger, faults: make(chan *Fault, 1)}
	if s.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if s.dir, err = os.Open(dir); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("store: open folder %s: %w", dir, err)
	}
	s.metrics = newMetrics(cfg.Registerer)
	return s, nil
}

// lockFolder makes this process the folder's only user until the file is closed.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: open lock %s: %w", path, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, &Fault{Reason: ReasonInUse, Dir: dir, Err: errors.New("another process holds its lock")}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("store: lock %s: %w", path, err)
	}
	return f, nil
}

// Endpoint is the address for etcd clients, a unix URL. It is valid from New until Run returns.
func (s *Store) Endpoint() string { return "unix://" + s.socketPath() }

// socketPath avoids the limit of 107 bytes on socket paths by going through the open folder where necessary.
func (s *Store) socketPath() string { return shortSocketPath(s.cfg.Dir, s.dir) }

func shortSocketPath(dir string, open *os.File) string {
	if path := filepath.Join(dir, socketName); len(path) < 100 {
		return path
	}
	return fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), open.Fd(), socketName)
}

// Run serves until ctx ends, then closes the database and releases the folder. It calls ready once, when the store
// can be written. Whatever makes etcd give up, at the start or later, is returned as a *Fault.
func (s *Store) Run(ctx context.Context, ready func()) error {
	defer s.lock.Close()
	defer s.dir.Close()
	server, err := s.start(ctx)
	if err != nil {
		return err
	}
	timeout := closeTimeout
	defer func() { s.close(server, timeout) }()
	select {
	case <-server.Server.ReadyNotify():
	case fault := <-s.faults:
		timeout = faultTimeout
		return fault
	case <-ctx.Done():
		return nil
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	maintained := make(chan struct{})
	go func() {
		defer close(maintained)
		s.maintain(ctx, server.Server)
	}()
	defer func() { cancel(); <-maintained }()
	select {
	case <-ctx.Done():
		return nil
	case fault := <-s.faults:
		timeout = faultTimeout
		return fault
	case err := <-server.Err():
		return fmt.Errorf("store: serve %s: %w", s.socketPath(), err)
	case <-server.Server.StopNotify():
		return s.stopped()
	}
}

// stopped gives the reason for which etcd ended on its own.
func (s *Store) stopped() error {
	select {
	case fault := <-s.faults:
		return fault
	default:
		return fmt.Errorf("store: etcd in %s stopped by itself", s.cfg.Dir)
	}
}

// start brings etcd up in a goroutine of its own, because etcd reports what it cannot survive by ending the goroutine
// (see logger).
func (s *Store) start(ctx context.Context) (*embed.Etcd, error) {
	cfg, err := s.etcdConfig()
	if err != nil {
		return nil, err
	}
	// A socket left by a killed process would make listening fail; the lock says that nobody serves it.
	if err := os.Remove(filepath.Join(s.cfg.Dir, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("store: remove old socket: %w", err)
	}
	type result struct {
		server *embed.Etcd
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = s.fault(fmt.Errorf("etcd gave up: %v", p))
			}
			done <- r
		}()
		r.server, r.err = embed.StartEtcd(cfg)
	}()
	select {
	case r := <-done:
		if r.server == nil && r.err == nil {
			return nil, s.stopped()
		}
		if r.err != nil {
			return nil, s.fault(r.err)
		}
		return r.server, nil
	case fault := <-s.faults:
		return nil, fault
	case <-ctx.Done():
		return nil, fmt.Errorf("store: open %s: %w", s.cfg.Dir, context.Cause(ctx))
	}
}

// setSegmentSize sets the size of a log segment for the process, once: upstream offers no other way, and a store that
// is being closed still reads it.
var setSegmentSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = segmentBytes })

func (s *Store) etcdConfig() (*embed.Config, error) {
	setSegmentSize()
	cfg := embed.NewConfig()
	cfg.Name = "fairlead"
	cfg.Dir = filepath.Join(s.cfg.Dir, "etcd")
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make folder %s: %w", cfg.Dir, err)
	}
	client := url.URL{Scheme: "unix", Path: s.socketPath()}
	cfg.ListenClientUrls = []url.URL{client}
	cfg.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: peerName}}
	// Nobody joins this cluster.
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: peerName}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs = uint(heartbeat.Milliseconds())
	cfg.ElectionMs = uint(election.Milliseconds())
	cfg.QuotaBackendBytes = s.cfg.QuotaBytes
	cfg.MaxRequestBytes = MaxRequestBytes
	cfg.SnapshotCount = 5000
	cfg.SnapshotCatchUpEntries = 100
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.EnableGRPCGateway = false
	cfg.WatchProgressNotifyInterval = progressEvery
	cfg.StrictReconfigCheck = true
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = time.Second
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(&logCore{log: s.log},
		zap.WithFatalHook(fatalHook{s}), zap.WithPanicHook(fatalHook{s})))
	return cfg, nil
}

// close ends etcd, waiting a bounded time: after a fault some of its goroutines may be gone with a lock held.
func (s *Store) close(server *embed.Etcd, timeout time.Duration) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer func() {
			if p := recover(); p != nil {
				s.log.Warn("store close panicked", "err", p)
			}
		}()
		server.Close()
	}()
	select {
	case <-closed:
	case <-time.After(timeout):
		s.log.Warn("store did not close in time", "timeout", timeout)
	}
}
