package netns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inside runs f on a thread that has entered the namespace and is thrown away after.
func inside(t *testing.T, s *Sockets, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(s.Namespace.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func newSockets(t *testing.T) *Sockets {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestDial(t *testing.T) {
	s := newSockets(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := NewDialer()
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()

	var l net.Listener
	var lerr error
	inside(t, s, func() { l, lerr = net.Listen("tcp", "127.0.0.1:80") })
	if lerr != nil {
		t.Fatal(lerr)
	}
	defer l.Close()
	conn, err := d.Dial(ctx, s.Namespace, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != "127.0.0.1:80" {
		t.Errorf("remote address %s", got)
	}
	if _, err := d.Dial(ctx, s.Namespace, 81); err == nil {
		t.Error("dialling a closed port succeeded")
	}
}

func TestOutboundIsTurned(t *testing.T) {
	s := newSockets(t)
	l, err := net.FileListener(s.Outbound)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range []string{"93.184.216.34:443", "10.1.2.3:80", "169.254.169.254:80", "10.88.0.3:65001"} {
		var conn net.Conn
		var cerr error
		inside(t, s, func() { conn, cerr = net.Dial("tcp4", to) })
		if cerr != nil {
			t.Fatal(cerr)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		dst, err := OriginalDst(accepted.(*net.TCPConn))
		if err != nil {
			t.Fatal(err)
		}
		if dst != netip.MustParseAddrPort(to) {
			t.Errorf("meant %s, the kernel says %s", to, dst)
		}
		accepted.Close()
		conn.Close()
	}
}

func TestDatagramsAreRefusedAtOnce(t *testing.T) {
	s := newSockets(t)
	var err error
	inside(t, s, func() {
		var c net.Conn
		if c, err = net.Dial("udp4", "8.8.8.8:123"); err != nil {
			return
		}
		defer c.Close()
		if _, err = c.Write([]byte("x")); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	})
	if err == nil {
		t.Fatal("a datagram to the outside was not refused")
	}
}

func BenchmarkNew(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("network namespaces need root")
	}
	for b.Loop() {
		s, err := New()
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func TestRefusals(t *testing.T) {
	s := newSockets(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := NewDialer()
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	r, err := d.Refusals(ctx, s.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	inside(t, s, func() {
		c, err := net.Dial("udp4", "8.8.4.4:123")
		if err == nil {
			c.Write([]byte("x"))
			c.Close()
		}
	})
	to, err := r.Next()
	if err != nil || len(to) != 1 || to[0] != netip.MustParseAddrPort("8.8.4.4:123") {
		t.Errorf("refused %v, %v", to, err)
	}
}

func FuzzRefused(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte{28, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 65, 8, 0, 9, 0, 0x45, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { refused(b) })
}
