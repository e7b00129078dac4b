package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// Main runs the helper with its Options as JSON. It returns the exit code of the process.
func Main(options string) int {
	if bundle, ok := strings.CutPrefix(options, launchPrefix); ok {
		return launch(bundle)
	}
	if args, ok := strings.CutPrefix(options, enterPrefix); ok {
		return enter(args)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var opts Options
	if err := json.Unmarshal([]byte(options), &opts); err != nil {
		log.Error("reading the options", "err", err)
		return 2
	}
	s := &server{opts: opts, log: log, sealed: sealedCopies{log: log}, moves: make(chan struct{}, 1), reaper: newReaper(), instances: map[string]*instance{}, usersHeld: map[uint32]bool{}, slots: make(chan struct{}, 2*runtime.NumCPU())}
	if err := s.run(); err != nil {
		log.Error("sandbox helper ends", "err", err)
		return 1
	}
	return 0
}

// server is the helper's side. mu guards what is below it; an instance's own lock is taken after mu, never before.
type server struct {
	opts Options
	log  *slog.Logger
	tree *cgroup.Tree
	// origin is where in the control groups the helper was started.
	origin cgroup.Place
	// slots bounds how many runtimes run at once, so that a burst of creations does not starve what runs already.
	slots   chan struct{}
	reaper  *reaper
	sockets held
	sealed  sealedCopies
	// moves is told when a process will soon be moved to another control group; it holds one message, more say nothing new.
	moves chan struct{}
	// staying is held while the helper is moved to where it is, so that it does not come back to a group it leaves, and while a thread of it
	// is in another group.
	staying sync.Mutex

	mu        sync.Mutex
	instances map[string]*instance
	daemon    *link // nil: none is connected
	orphan    *time.Timer
	listener  *net.UnixListener
	stopping  bool
	usersNext uint32 // the range of users to try first; counted in ranges
	usersHeld map[uint32]bool
	view      string // where instances with users of their own are seen; empty: not made yet
}

func (s *server) run() error {
	lock, err := lockDir(s.opts.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if s.tree, err = cgroup.OpenAt(s.opts.CgroupBase); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.orphan = time.AfterFunc(s.opts.OrphanAfter, s.orphaned)
	ctx, cancel := context.WithCancel(context.Background())
	reaping := make(chan struct{})
	go func() { defer close(reaping); s.reaper.serve(ctx) }()
	priming := make(chan struct{})
	go func() { defer close(priming); s.prime(ctx) }()
	defer func() { cancel(); <-reaping; <-priming }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(stop)
	go func() {
		select {
		case <-stop:
			s.end("told to end by a signal")
		case <-reaping:
		}
	}()
	ready() // whoever started the helper waits for this
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			if s.isStopping() {
				return s.removeView()
			}
			return fmt.Errorf("accepting a daemon: %w", err)
		}
		go s.serve(&link{conn: conn})
	}
}

// lockTime is how long a helper waits for one that is ending.
const lockTime = 10 * time.Second

// lockDir makes sure that a folder has one helper.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "helper.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockTime); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("another sandbox helper runs for %s: %w", dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// helperGroup is the group of this process below Options.CgroupParent.
const helperGroup = "_helper"

// settle makes this process the parent of all orphaned containers, and its mounts its own.
func (s *server) settle() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of containers: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if s.tree.Hybrid() {
		if err := hideVersion2(filepath.Join(s.opts.Dir, "groups")); err != nil {
			return fmt.Errorf("covering the version 2 control groups of a hybrid machine: %w", err)
		}
	}
	own := s.ownGroup()
	if s.tree.Mode() == cgroup.None {
		return nil
	}
	var err error
	if s.origin, err = s.tree.Place(); err != nil {
		return err
	}
	if err := s.tree.Make(own); err != nil {
		return err
	}
	return s.tree.Enter(own, os.Getpid())
}

// ownGroup is the control group of the helper itself.
func (s *server) ownGroup() string { return filepath.Join(s.opts.CgroupParent, helperGroup) }

func (s *server) listen() error {
	path := filepath.Join(s.opts.Dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return viaDir(s.opts.Dir, socketName, func(short string) (err error) {
		s.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: short, Net: "unixpacket"})
		if err != nil {
			return fmt.Errorf("listening on %s: %w", path, err)
		}
		s.listener.SetUnlinkOnClose(false)
		return os.Chmod(path, 0o600)
	})
}

// ready closes the pipe that Start waits on, descriptor 3.
func ready() {
	f := os.NewFile(3, "ready")
	f.Write([]byte{1})
	f.Close()
}

func (s *server) serve(l *link) {
	defer l.conn.Close()
	defer s.left(l)
	for {
		var r request
		files, err := l.receive(&r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log.Warn("reading from the daemon", "err", err)
			}
			return
		}
		if r.Op == "hello" {
			s.take(l)
		}
		go func() {
			defer closeAll(files)
			s.answer(l, r, files)
		}()
	}
}

// take makes l the daemon that is told about exits.
func (s *server) take(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemon != nil && s.daemon != l {
		s.daemon.conn.Close()
	}
	s.daemon = l
	s.orphan.Stop()
	s.sockets.attended(true)
}

func (s *server) left(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemon == l {
		s.daemon = nil
		s.orphan.Reset(s.opts.OrphanAfter)
		s.sockets.attended(false)
	}
}

// tell sends an event to the daemon, if there is one; a later one finds the exit in the list.
func (s *server) tell(e Event) {
	s.mu.Lock()
	l := s.daemon
	s.mu.Unlock()
	if l == nil {
		return
	}
	if err := l.send(response{Event: &e}, nil); err != nil {
		s.log.Warn("telling the daemon of an exit", "instance", e.Instance, "err", err)
	}
}

func (s *server) answer(l *link, r request, in []*os.File) {
	var out response
	result, files, err := s.handle(r, in)
	out.ID = r.ID
	if err != nil {
		out.Error, out.Code = err.Error(), codeOf(err)
	} else if result != nil {
		data, err := json.Marshal(result)
		if err != nil {
			out.Error = err.Error()
		}
		out.Result = data
	}
	if err := l.send(out, files); err != nil {
		s.log.Warn("answering the daemon", "op", r.Op, "err", err)
	}
	if r.Op == "sockets" || r.Op == "passed" {
		closeAll(files) // made for this answer
	}
	if r.Op == "shutdown" {
		s.mu.Lock()
		s.stopping = true
		s.mu.Unlock()
		s.listener.Close()
	}
}

func (s *server) handle(r request, in []*os.File) (result any, files []*os.File, err error) {
	switch r.Op {
	case "hello":
		return hello{Version: Version, Pid: os.Getpid(), CgroupBase: s.tree.Base()}, nil, nil
	case "open":
		return call(r, func(a OpenArgs) (any, []*os.File, error) { return s.open(a) })
	case "adopt":
		return call(r, func(a Ref) (any, []*os.File, error) { return s.adopt(a.Instance) })
	case "create":
		return call(r, func(a CreateArgs) (any, []*os.File, error) { return s.create(a) })
	case "start":
		return call(r, func(a Ref) (any, []*os.File, error) { return nil, nil, s.start(a) })
	case "signal":
		return call(r, func(a signalArgs) (any, []*os.File, error) { return nil, nil, s.signal(a.Ref, unix.Signal(a.Signal)) })
	case "pause":
		return call(r, func(a Ref) (any, []*os.File, error) { return nil, nil, s.pause(a.Instance) })
	case "resume":
		return call(r, func(a Ref) (any, []*os.File, error) { return nil, nil, s.resume(a.Instance) })
	case "remove":
		return call(r, func(a Ref) (any, []*os.File, error) { return nil, nil, s.remove(a) })
	case "close":
		return call(r, func(a Ref) (any, []*os.File, error) { return nil, nil, s.close(a.Instance) })
	case "names":
		return s.names(), nil, nil
	case "goroutines":
		return runtime.NumGoroutine(), nil, nil
	case "show":
		return call(r, func(a Ref) (any, []*os.File, error) { return s.show(a.Instance) })
	case "exec":
		return call(r, func(a ExecArgs) (any, []*os.File, error) { return s.exec(a, in) })
	case "killexec":
		return call(r, func(a ExecArgs) (any, []*os.File, error) { return nil, nil, s.killExec(a) })
	case "hold":
		return call(r, func(a holdArgs) (any, []*os.File, error) { return nil, nil, s.sockets.put(a, in) })
	case "sockets":
		return call(r, func(a takeArgs) (any, []*os.File, error) { return s.takeSockets(a) })
	case "pass":
		return nil, nil, s.sockets.pass(in)
	case "passed":
		return nil, s.sockets.takeConns(), nil
	case "shutdown":
		return nil, nil, s.shutdown()
	}
	return nil, nil, fmt.Errorf("the sandbox helper does not know %q", r.Op)
}

func call[A any](r request, f func(A) (any, []*os.File, error)) (any, []*os.File, error) {
	var a A
	if err := json.Unmarshal(r.Args, &a); err != nil {
		return nil, nil, fmt.Errorf("reading the arguments of %s: %w", r.Op, err)
	}
	return f(a)
}

// orphaned ends everything when no daemon has come for too long.
func (s *server) orphaned() {
	s.mu.Lock()
	if s.daemon != nil || s.stopping {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.end("no daemon came back")
}

// end ends all instances and the helper, without having been asked by a daemon.
func (s *server) end(why string) {
	s.log.Warn("ending all instances", "reason", why)
	if err := s.shutdown(); err != nil {
		s.log.Error("ending all instances", "err", err)
	}
	if err := s.leave(); err != nil {
		s.log.Error("removing the control groups", "err", err)
	}
	s.listener.Close()
}

// shutdown ends all instances.
func (s *server) shutdown() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.sockets.close()
	var all []error
	for _, name := range s.names() {
		all = append(all, s.close(name))
	}
	return errors.Join(all...)
}

// soon says that a process will soon be moved to another control group.
func (s *server) soon() {
	select {
	case s.moves <- struct{}{}:
	default:
	}
}

// prime lets the kernel get ready for moves while the rest of an instance is made, until ctx ends.
func (s *server) prime(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.moves:
		}
		s.staying.Lock()
		if !s.isStopping() { // it leaves its group then
			if err := s.tree.Prime(s.ownGroup(), os.Getpid()); err != nil {
				s.log.Debug("priming moves between control groups", "err", err)
			}
		}
		s.staying.Unlock()
	}
}

func (s *server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// slot waits for leave to run a runtime.
func (s *server) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
