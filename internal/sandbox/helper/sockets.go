package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Socket names a listening socket that outlives the daemon. Two are the same only if both fields are.
type Socket struct {
	Name    string `json:"name"`    // of the component that listens
	Address string `json:"address"` // as it was asked for, not as it came out
}

type holdArgs struct {
	Sockets []Socket      `json:"sockets"`        // in the order of the files
	Keep    []Socket      `json:"keep,omitempty"` // stay, if they are held already
	For     time.Duration `json:"for"`
}

type takeArgs struct {
	Wanted []Socket `json:"wanted"`         // one without an address stands for all of its name
	Have   []Socket `json:"have,omitempty"` // were given by a call before
}

// wants says whether a socket is to be kept.
func (a takeArgs) wants(s Socket) bool {
	return slices.Contains(a.Wanted, s) || slices.Contains(a.Wanted, Socket{Name: s.Name})
}

// held are the listening sockets that the helper keeps open. The descriptors are not made files of the runtime's: it would be
// woken by every connection.
type held struct {
	mu    sync.Mutex
	fds   map[Socket]int
	conns []int         // of clients, that wait for the next daemon
	hold  time.Duration // how long they stay open without a daemon
	timer *time.Timer   // nil: a daemon is there
}

// put replaces what is held, but for what is to be kept. Connections that the daemon has not taken by then are not wanted.
func (h *held) put(a holdArgs, files []*os.File) error {
	if len(a.Sockets) != len(files) {
		return fmt.Errorf("%d sockets are named, %d came", len(a.Sockets), len(files))
	}
	fds := map[Socket]int{}
	for n, f := range files {
		fd, err := dup(f)
		if err != nil {
			closeFDs(fds)
			return fmt.Errorf("holding the socket of %s: %w", a.Sockets[n].Name, err)
		}
		fds[a.Sockets[n]] = fd
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, fd := range h.fds {
		if _, again := fds[s]; !again && slices.Contains(a.Keep, s) {
			fds[s] = fd
			delete(h.fds, s)
		}
	}
	h.drop()
	h.fds, h.hold = fds, a.For
	return nil
}

// maxConns bounds the connections that are kept.
const maxConns = 512

// pass keeps a client's connection for the next daemon.
func (h *held) pass(files []*os.File) error {
	if len(files) != 1 {
		return fmt.Errorf("%d connections came, want one", len(files))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) >= maxConns {
		return fmt.Errorf("%d connections are kept already", maxConns)
	}
	fd, err := dup(files[0])
	if err != nil {
		return fmt.Errorf("keeping a connection: %w", err)
	}
	h.conns = append(h.conns, fd)
	return nil
}

// takeConns gives some of the connections, which are the caller's; none when there are no more.
func (h *held) takeConns() []*os.File {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.conns), maxFiles)
	files := make([]*os.File, n)
	for k, fd := range h.conns[:n] {
		files[k] = os.NewFile(uintptr(fd), "connection")
	}
	h.conns = h.conns[n:]
	return files
}

// take gives duplicates of those that are wanted, which the caller closes, and lets go of the others. It gives as many as one packet has
// room for; those that the caller has are not given again.
func (h *held) take(a takeArgs) (got []Socket, files []*os.File, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, fd := range h.fds {
		if !a.wants(s) {
			_ = unix.Close(fd)
			delete(h.fds, s)
			continue
		}
		if len(files) == maxFiles || slices.Contains(a.Have, s) {
			continue
		}
		again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeAll(files)
			return nil, nil, fmt.Errorf("handing over the socket of %s: %w", s.Name, err)
		}
		got, files = append(got, s), append(files, os.NewFile(uintptr(again), s.Name))
	}
	return got, files, nil
}

func (s *server) takeSockets(a takeArgs) (any, []*os.File, error) {
	got, files, err := s.sockets.take(a)
	return got, files, err
}

// attended says whether a daemon is there. Without one the sockets are closed after their time.
func (h *held) attended(yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	if !yes {
		var timer *time.Timer
		timer = time.AfterFunc(h.hold, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.timer == timer { // no daemon has come in the same moment
				h.drop()
			}
		})
		h.timer = timer
	}
}

// close lets go of all.
func (h *held) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop()
}

// drop is close with the lock held.
func (h *held) drop() {
	closeFDs(h.fds)
	for _, fd := range h.conns {
		_ = unix.Close(fd)
	}
	h.fds, h.conns = nil, nil
}

func dup(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	inner := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, inner)
}

func closeFDs(fds map[Socket]int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Hold gives the helper listening sockets to keep open while no daemon is there, for at most a time. They replace those
// of an earlier call. When it fails, more may be held than is asked for. The files stay the caller's.
func (c *Client) Hold(ctx context.Context, sockets []Socket, files []*os.File, hold time.Duration) error {
	for n := 0; n == 0 || n < len(files); n += maxFiles {
		end := min(n+maxFiles, len(files))
		args := holdArgs{Sockets: sockets[n:end], Keep: sockets, For: hold}
		if _, err := c.call(ctx, "hold", args, nil, files[n:end]...); err != nil {
			return err
		}
	}
	return nil
}

// PassOn gives the helper a client's connection for the next daemon. It is closed when none has come in the time given to Hold, and
// when the next one calls Hold without having taken it. The file stays the caller's.
func (c *Client) PassOn(ctx context.Context, file *os.File) error {
	_, err := c.call(ctx, "pass", struct{}{}, nil, file)
	return err
}

// TakePassed gives connections that a daemon before passed on, not all at once, none when there are no more. The caller closes the files.
func (c *Client) TakePassed(ctx context.Context) ([]*os.File, error) {
	return c.call(ctx, "passed", struct{}{}, nil)
}

// TakeSockets asks the helper in dir for those of the wanted sockets that it holds, and has it let go of all others. One without an
// address stands for all of its name. It does not take the helper over. The caller closes the files. The error is fs.ErrNotExist or
// ECONNREFUSED if there is no helper.
func TakeSockets(ctx context.Context, dir string, wanted []Socket) (got []Socket, files []*os.File, err error) {
	c, err := Connect(dir)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx, func(Event) {}) }) // its end is told by the call
	defer running.Wait()
	defer cancel()
	for {
		var more []Socket
		moreFiles, err := c.call(ctx, "sockets", takeArgs{wanted, got}, &more)
		files = append(files, moreFiles...)
		if err == nil && len(more) != len(moreFiles) {
			err = fmt.Errorf("the sandbox helper names %d sockets and sends %d", len(more), len(moreFiles))
		}
		if err != nil {
			closeAll(files)
			return nil, nil, err
		}
		got = append(got, more...)
		if len(more) < maxFiles {
			return got, files, nil
		}
	}
}
