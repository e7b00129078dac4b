package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// Socket names a listening socket that outlives the daemon: who listens, and the address that was asked for. Two are the same
// only if both are.
type Socket struct {
	Name    string
	Address string
}

// takeTime bounds how long a helper may take to hand its sockets over.
const takeTime = 5 * time.Second

// TakeSockets gives those of the wanted sockets that the helper of a folder has held since a daemon was there, and closes all others
// it held. One without an address stands for all of its name. It may be called before New. Without a helper there are none, which is no error. The caller closes them.
func TakeSockets(ctx context.Context, dir string, wanted []Socket) (map[Socket]net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	named := make([]helper.Socket, len(wanted))
	for n, s := range wanted {
		named[n] = helper.Socket(s)
	}
	got, files, err := helper.TakeSockets(ctx, dir, named)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sockets of the daemon before: %w", err)
	}
	listeners := map[Socket]net.Listener{}
	for n, f := range files {
		l, listenErr := net.FileListener(f)
		f.Close()
		if listenErr != nil {
			err = errors.Join(err, fmt.Errorf("socket %s of the daemon before: %w", got[n].Name, listenErr))
			continue
		}
		listeners[Socket(got[n])] = l
	}
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, err
	}
	return listeners, nil
}

// HelperPID gives the process of the helper of a folder, 0 if there is none that this process may ask.
func HelperPID(dir string) int {
	c, err := helper.Connect(dir)
	if err != nil {
		return 0
	}
	defer c.Disconnect()
	pid, err := c.Peer()
	if err != nil {
		return 0
	}
	return pid
}

// HoldSockets has the helper keep listening sockets open for a time after this process has gone, however it goes, so that no
// connection that waits in them is refused before the next one takes them. They replace those of an earlier call; none lets go of
// all at once. One that is closed is left out. The listeners stay the caller's. Run must be running.
func (m *Manager) HoldSockets(ctx context.Context, sockets map[Socket]*net.TCPListener, hold time.Duration) error {
	conn, err := m.connected()
	if err != nil {
		return err
	}
	var named []helper.Socket
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for s, l := range sockets {
		f, err := l.File()
		if errors.Is(err, net.ErrClosed) {
			continue // nobody can connect any more
		}
		if err != nil {
			return fmt.Errorf("sandbox: socket %s: %w", s.Name, err)
		}
		named, files = append(named, helper.Socket(s)), append(files, f)
	}
	if err := conn.Hold(ctx, named, files, hold); err != nil {
		return fmt.Errorf("sandbox: holding sockets: %w", err)
	}
	return nil
}

// PassOn gives the helper a client's connection for the next daemon, which gets it by TakePassed. The connection stays the caller's
// and is to be closed without being used any more. Run must be running.
func (m *Manager) PassOn(ctx context.Context, c *net.TCPConn) error {
	conn, err := m.connected()
	if err != nil {
		return err
	}
	f, err := c.File()
	if err != nil {
		return fmt.Errorf("sandbox: passing a connection on: %w", err)
	}
	defer f.Close()
	if err := conn.PassOn(ctx, f); err != nil {
		return fmt.Errorf("sandbox: passing a connection on: %w", err)
	}
	return nil
}

// TakePassed gives the clients' connections that the daemon before passed on; what is not taken before HoldSockets is closed. Those that
// are given together with an error are good. Run must be running. The caller closes them.
func (m *Manager) TakePassed(ctx context.Context) (conns []net.Conn, err error) {
	conn, err := m.connected()
	if err != nil {
		return nil, err
	}
	for {
		files, takeErr := conn.TakePassed(ctx)
		if takeErr != nil {
			err = errors.Join(err, fmt.Errorf("sandbox: connections of the daemon before: %w", takeErr))
		}
		if len(files) == 0 {
			return conns, err
		}
		for _, f := range files {
			c, connErr := net.FileConn(f)
			f.Close()
			if connErr != nil {
				err = errors.Join(err, fmt.Errorf("sandbox: connection of the daemon before: %w", connErr))
				continue
			}
			conns = append(conns, c)
		}
	}
}

// connected gives the way to the helper.
func (m *Manager) connected() (*helper.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.helper == nil {
		return nil, errors.New("sandbox: sockets cannot be held: not running")
	}
	return m.helper, nil
}

// Keep decides anew, while Run is running, whether it leaves the instances alone at its end, as Config.Keep does at first.
func (m *Manager) Keep(keep bool) { m.keep.Store(keep) }

// StopAccepting leaves connections that instances open from now on to the next daemon: they wait in the sockets that the helper
// holds. What was accepted goes on.
func (m *Manager) StopAccepting() {
	m.quiet.Store(true)
	for _, i := range m.Instances() {
		i.mu.Lock()
		accepting := i.accepting
		i.mu.Unlock()
		if accepting != nil {
			accepting.Close()
		}
	}
}

// accept notes the listener for what the instance opens; false if nothing is to be accepted any more.
func (i *Instance) accept(l io.Closer) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.accepting = l
	return !i.m.quiet.Load()
}
