package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dialer opens sockets in namespaces. Its threads hop from one namespace to the next and never return to the machine's own.
// Run must be running for Dial to get anywhere.
type Dialer struct {
	jobs chan job
}

type job struct {
	namespace *os.File
	open      func() (fd int, err error)
	reply     chan reply
}

type reply struct {
	fd  int
	err error
}

// NewDialer makes a Dialer; it starts nothing.
func NewDialer() *Dialer {
	return &Dialer{jobs: make(chan job)}
}

// Run serves Dial on some threads until ctx ends, and returns when they are gone.
func (d *Dialer) Run(ctx context.Context) {
	const threads = 2
	done := make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread() // never unlocked, so the thread ends here
			d.serve(ctx)
			done <- struct{}{}
		}()
	}
	for range threads {
		<-done
	}
}

func (d *Dialer) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-d.jobs:
			fd, err := openIn(j.namespace, j.open)
			j.reply <- reply{fd, err}
		}
	}
}

func openIn(namespace *os.File, open func() (int, error)) (int, error) {
	raw, err := namespace.SyscallConn()
	if err != nil {
		return -1, err
	}
	var entered error
	if err := raw.Control(func(fd uintptr) { entered = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return -1, err
	}
	if entered != nil {
		return -1, fmt.Errorf("entering the network namespace: %w", entered)
	}
	return open()
}

// Dial opens a TCP connection to a port of the namespace's own loopback: first 127.0.0.1, and ::1 if that refuses.
func (d *Dialer) Dial(ctx context.Context, namespace *os.File, port uint16) (*net.TCPConn, error) {
	conn, err := d.dial(ctx, namespace, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	if errors.Is(err, unix.ECONNREFUSED) {
		if six, err6 := d.dial(ctx, namespace, netip.AddrPortFrom(netip.IPv6Loopback(), port)); err6 == nil {
			return six, nil
		}
	}
	return conn, err
}

func (d *Dialer) dial(ctx context.Context, namespace *os.File, to netip.AddrPort) (*net.TCPConn, error) {
	family := unix.AF_INET6
	var addr unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := d.socket(ctx, namespace, family, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, opError(to, err)
	}
	err = unix.Connect(fd, addr)
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return nil, opError(to, os.NewSyscallError("connect", err))
	}
	pending := err != nil
	f := os.NewFile(uintptr(fd), "netns")
	defer f.Close() // FileConn makes its own copy
	if pending {
		if err := connected(ctx, f); err != nil {
			return nil, opError(to, err)
		}
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, opError(to, err)
	}
	return conn.(*net.TCPConn), nil
}

func (d *Dialer) socket(ctx context.Context, namespace *os.File, family, kind, protocol int) (int, error) {
	return d.open(ctx, namespace, func() (int, error) {
		return unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	})
}

// open has a thread in the namespace open something.
func (d *Dialer) open(ctx context.Context, namespace *os.File, open func() (int, error)) (int, error) {
	j := job{namespace, open, make(chan reply, 1)}
	select {
	case d.jobs <- j:
		r := <-j.reply
		return r.fd, r.err
	case <-ctx.Done():
		return -1, context.Cause(ctx)
	}
}

// connected waits until the pending connect of f is decided or ctx ends.
func connected(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		// The edge may have come before this wait began, so the socket itself is asked.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(fds, 0); err == nil && n == 0 {
			return false
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = os.NewSyscallError("connect", unix.Errno(code))
		}
		failed = err
		return true
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, failed)
}

func opError(to netip.AddrPort, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// OriginalDst gives the address a connection accepted on the outbound listener was meant for.
func OriginalDst(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var sa unix.RawSockaddrInet4
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(sa))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IP, unix.SO_ORIGINAL_DST,
			uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	if errno != 0 {
		return netip.AddrPort{}, os.NewSyscallError("getsockopt SO_ORIGINAL_DST", errno)
	}
	port := sa.Port<<8 | sa.Port>>8 // network order on a little-endian machine
	if !littleEndian() {
		port = sa.Port
	}
	return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port), nil
}

func littleEndian() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}
