package api

import (
	"context"
	"net"
	"sync"

	"k8s.io/client-go/rest"
)

// memoryListener hands out connections that never leave the process.
type memoryListener struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{connections: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

// dial waits until the server accepts.
func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.connections <- memoryConn{theirs}:
		return memoryConn{ours}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// memoryConn has an address that parses as one, which the server's request handling expects.
type memoryConn struct{ net.Conn }

func (memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }
func (memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "127.0.0.1:1" }

// config is a client configuration over the listener, as the user that may do everything.
func (l *memoryListener) config(token string) *rest.Config {
	return &rest.Config{
		Host:        "http://loopback",
		BearerToken: token,
		Dial:        l.dial,
		UserAgent:   "fairlead",
		QPS:         -1,
	}
}
