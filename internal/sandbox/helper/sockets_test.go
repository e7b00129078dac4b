package helper

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair gives both ends of a connection, one of them as a file.
func pair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	here, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	f, err := here.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	return there, f
}

// TestPassedConnections: the next daemon gets all of them, once; those it leaves are closed.
func TestPassedConnections(t *testing.T) {
	var h held
	var ends []net.Conn
	pass := func() error {
		there, f := pair(t)
		defer f.Close()
		ends = append(ends, there)
		return h.pass([]*os.File{f})
	}
	const n = 2*maxFiles + 1
	for range n {
		if err := pass(); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < n; {
		files := h.takeConns()
		if len(files) == 0 {
			t.Fatalf("%d connections came, want %d", got, n)
		}
		for _, f := range files {
			if _, err := f.WriteString("x"); err != nil {
				t.Error(err)
			}
			f.Close()
		}
		got += len(files)
	}
	for _, c := range ends {
		if data, err := io.ReadAll(c); err != nil || string(data) != "x" {
			t.Errorf("read %q, %v, want x and the end", data, err)
		}
	}
	for range maxConns {
		if err := pass(); err != nil {
			t.Fatal(err)
		}
	}
	if pass() == nil {
		t.Error("there is no limit")
	}
	if err := h.put(holdArgs{For: time.Minute}, nil); err != nil {
		t.Fatal(err)
	}
	if files := h.takeConns(); len(files) != 0 {
		t.Error("connections outlive the call that says what is wanted")
	}
	last := ends[len(ends)-2]
	_ = last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := last.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that nobody took is not closed: %v", err)
	}
}

// TestHeldSockets: what is held stays over several packets, is given in several, and is closed when nobody wants it.
func TestHeldSockets(t *testing.T) {
	var h held
	defer h.close()
	var all []Socket
	listeners := map[Socket]net.Listener{}
	files := map[Socket]*os.File{}
	for n := range 2*maxFiles + 1 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s := Socket{Name: "own", Address: l.Addr().String()}
		if n > 0 {
			s.Name = "many"
		}
		all, listeners[s], files[s] = append(all, s), l, f
	}
	for n := 0; n < len(all); n += maxFiles {
		a := holdArgs{Sockets: all[n:min(n+maxFiles, len(all))], Keep: all, For: time.Minute}
		var some []*os.File
		for _, s := range a.Sockets {
			some = append(some, files[s])
		}
		if err := h.put(a, some); err != nil {
			t.Fatal(err)
		}
	}
	for s, l := range listeners {
		l.Close()
		files[s].Close()
	}

	wanted := takeArgs{Wanted: []Socket{{Name: "many"}, {Name: "own", Address: "another"}}}
	for {
		got, some, err := h.take(wanted)
		if err != nil {
			t.Fatal(err)
		}
		closeAll(some)
		wanted.Have = append(wanted.Have, got...)
		if len(got) < maxFiles {
			break
		}
	}
	if len(wanted.Have) != len(all)-1 {
		t.Errorf("%d sockets are given, want %d", len(wanted.Have), len(all)-1)
	}
	for n, s := range all {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			c.Close()
		}
		if open := err == nil; open != (n > 0) {
			t.Errorf("%v: open is %v, want %v", s, open, n > 0)
		}
	}
}
