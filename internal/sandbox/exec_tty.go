package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// consoleTime is how long the runtime may take to hand over a terminal.
const consoleTime = 30 * time.Second

// terminal runs a process with a terminal of its own, whose other side the runtime sends to a socket here.
func (e *execution) terminal(ctx context.Context, opts ExecOptions) (helper.Exit, error) {
	dir, err := os.MkdirTemp(e.i.dir, "tty-")
	if err != nil {
		return helper.Exit{}, err
	}
	defer os.RemoveAll(dir)
	handle, err := os.Open(dir)
	if err != nil {
		return helper.Exit{}, err
	}
	defer handle.Close()
	// By way of the descriptor, because paths of sockets must be short.
	path := filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(handle.Fd())), "console")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return helper.Exit{}, err
	}
	defer listener.Close()
	e.args.Console = path

	type outcome struct {
		exit helper.Exit
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		exit, err := e.call(ctx)
		listener.Close() // a runtime that failed never connects
		ended <- outcome{exit, err}
	}()
	master, err := acceptTerminal(listener)
	if err != nil {
		o := <-ended
		if o.err != nil {
			return o.exit, o.err
		}
		return o.exit, fmt.Errorf("waiting for the terminal: %w", err)
	}
	done := make(chan struct{})
	var out sync.WaitGroup
	e.attach(master, opts, done, &out)
	o := <-ended
	close(done)
	out.Wait()
	return o.exit, errors.Join(o.err, master.Close())
}

// attach joins the terminal with the caller's streams. Reading from the caller cannot be interrupted and ends with its reader.
func (e *execution) attach(master *os.File, opts ExecOptions, done <-chan struct{}, out *sync.WaitGroup) {
	if opts.Stdin != nil {
		go io.Copy(master, opts.Stdin)
	}
	to := opts.Stdout
	if to == nil {
		to = io.Discard
	}
	out.Go(func() { io.Copy(to, master) }) // ends with EIO when the last process has left the terminal
	if opts.Resize == nil {
		return
	}
	out.Go(func() {
		for {
			select {
			case size, ok := <-opts.Resize:
				if !ok {
					return
				}
				if err := resize(master, size); err != nil {
					e.i.m.log.Debug("resizing a terminal", "instance", e.i.id, "err", err)
				}
			case <-done:
				return
			}
		}
	})
}

func resize(master *os.File, s Size) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: s.Width, Row: s.Height})
	})
	return errors.Join(err, set)
}

// acceptTerminal receives the one file that the runtime sends.
func acceptTerminal(l *net.UnixListener) (*os.File, error) {
	if err := l.SetDeadline(time.Now().Add(consoleTime)); err != nil {
		return nil, err
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	data, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("the runtime sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
