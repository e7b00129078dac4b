package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// ErrLost: the connection to the helper has ended.
var ErrLost = errors.New("the sandbox helper is gone")

// Client is the daemon's connection to the helper. Its methods may be called at once.
type Client struct {
	link   *link
	pid    int
	events chan Event
	done   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan answer
}

type answer struct {
	response
	files []*os.File
}

// Connect connects to the helper that listens in dir. The error is fs.ErrNotExist or ECONNREFUSED if there is none. Run must be
// called for requests to be answered.
func Connect(dir string) (*Client, error) {
	var conn *net.UnixConn
	err := viaDir(dir, socketName, func(path string) (err error) {
		conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the sandbox helper: %w", err)
	}
	return &Client{
		link:    &link{conn: conn},
		events:  make(chan Event),
		done:    make(chan struct{}),
		pending: map[uint64]chan answer{},
	}, nil
}

// Run reads answers and hands every event to each, in order, until the connection ends or ctx does. It returns nil only if ctx
// ended.
func (c *Client) Run(ctx context.Context, each func(Event)) error {
	stop := context.AfterFunc(ctx, func() { c.link.conn.Close() })
	defer stop()
	defer c.fail()
	for {
		var r response
		files, err := c.link.receive(&r)
		if err != nil {
			c.link.conn.Close()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		if r.Event != nil {
			each(*r.Event)
			continue
		}
		c.mu.Lock()
		ch := c.pending[r.ID]
		delete(c.pending, r.ID)
		c.mu.Unlock()
		if ch == nil {
			closeAll(files)
			continue
		}
		ch <- answer{r, files}
	}
}

// fail answers everything that is still asked.
func (c *Client) fail() {
	close(c.done)
}

// Peer gives the process id of the helper.
func (c *Client) Peer() (int, error) {
	raw, err := c.link.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	pid := 0
	controlErr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid, errors.Join(err, controlErr)
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

func (c *Client) call(ctx context.Context, op string, args, result any, files ...*os.File) ([]*os.File, error) {
	data, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	ch := make(chan answer, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.pending[id] = ch
	c.mu.Unlock()
	if err := c.link.send(request{ID: id, Op: op, Args: data}, files); err != nil {
		c.forget(id, ch)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = ErrLost
		}
		return nil, err
	}
	select {
	case a := <-ch:
		if a.Error != "" {
			closeAll(a.files)
			return nil, decodeError(a.response)
		}
		if result == nil {
			return a.files, nil
		}
		return a.files, json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		c.forget(id, ch)
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, ErrLost
	}
}

// forget takes back a request; an answer that has come already loses its files.
func (c *Client) forget(id uint64, ch chan answer) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
	select {
	case a := <-ch:
		closeAll(a.files)
	default:
	}
}

// Hello asks for the version, and where the helper's control groups begin (cgroup.OpenAt), and takes over: from now on events come
// to this client.
func (c *Client) Hello(ctx context.Context) (version int, base cgroup.Place, err error) {
	var h hello
	_, err = c.call(ctx, "hello", nil, &h)
	return h.Version, h.CgroupBase, err
}

// Open prepares an instance and gives the files of its network namespace, see netns.FromFiles. ErrUsers and ErrMapping say
// that it cannot have the user namespace asked for.
func (c *Client) Open(ctx context.Context, args OpenArgs) (Opened, []*os.File, error) {
	var out Opened
	files, err := c.call(ctx, "open", args, &out)
	return out, files, err
}

// Adopt gives the files of an open instance again.
func (c *Client) Adopt(ctx context.Context, instance string) ([]*os.File, error) {
	return c.call(ctx, "adopt", Ref{Instance: instance}, nil)
}

// Create mounts the root file system and has the runtime create the container.
func (c *Client) Create(ctx context.Context, args CreateArgs) (Created, error) {
	var out Created
	_, err := c.call(ctx, "create", args, &out)
	return out, err
}

// Start starts a created container that has no fifo.
func (c *Client) Start(ctx context.Context, ref Ref) error {
	_, err := c.call(ctx, "start", ref, nil)
	return err
}

type signalArgs struct {
	Ref
	Signal int `json:"signal"`
}

// Signal sends a signal to a container's first process. One that has ended gets none, which is no error.
func (c *Client) Signal(ctx context.Context, ref Ref, signal unix.Signal) error {
	_, err := c.call(ctx, "signal", signalArgs{ref, int(signal)}, nil)
	return err
}

// Pause stops all processes of an instance by SIGSTOP, and returns when they have stopped.
func (c *Client) Pause(ctx context.Context, instance string) error {
	_, err := c.call(ctx, "pause", Ref{Instance: instance}, nil)
	return err
}

// Resume lets the processes of an instance run again that Pause has stopped.
func (c *Client) Resume(ctx context.Context, instance string) error {
	_, err := c.call(ctx, "resume", Ref{Instance: instance}, nil)
	return err
}

// Remove ends a container for good: its processes, the runtime's state, its mounts and what it wrote.
func (c *Client) Remove(ctx context.Context, ref Ref) error {
	_, err := c.call(ctx, "remove", ref, nil)
	return err
}

// Close removes what Open made, and all containers that are left.
func (c *Client) Close(ctx context.Context, instance string) error {
	_, err := c.call(ctx, "close", Ref{Instance: instance}, nil)
	return err
}

// List gives the instances that the helper holds.
func (c *Client) List(ctx context.Context) ([]Listed, error) {
	var names []string
	if _, err := c.call(ctx, "names", nil, &names); err != nil {
		return nil, err
	}
	var out []Listed
	for _, name := range names {
		var l Listed
		if _, err := c.call(ctx, "show", Ref{Instance: name}, &l); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Exec runs a process in a container and returns when it has ended.
func (c *Client) Exec(ctx context.Context, args ExecArgs, files ...*os.File) (Exit, error) {
	var exit Exit
	_, err := c.call(ctx, "exec", args, &exit, files...)
	return exit, err
}

// KillExec ends a process that Exec runs.
func (c *Client) KillExec(ctx context.Context, ref Ref, id string) error {
	_, err := c.call(ctx, "killexec", ExecArgs{Ref: ref, ID: id}, nil)
	return err
}

// Goroutines says how many the helper has, for those who look for leaks.
func (c *Client) Goroutines(ctx context.Context) (int, error) {
	var n int
	_, err := c.call(ctx, "goroutines", nil, &n)
	return n, err
}

// Shutdown ends all instances and the helper.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.call(ctx, "shutdown", nil, nil)
	return err
}

// Disconnect leaves the helper and what it holds alone.
func (c *Client) Disconnect() { c.link.conn.Close() }
