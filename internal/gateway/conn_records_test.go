package gateway

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// TestSilentOverTLS ends a gateway while clients over TLS have got to different points before their first request: they hear the end as
// those without TLS do, long before any other clock of the gateway. Who has sent half a request is waited for.
func TestSilentOverTLS(t *testing.T) {
	cfg := Config{LameDuck: time.Millisecond, HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: t.TempDir()}, HeaderTimeout: time.Hour, DrainTimeout: time.Hour}
	g := startLeaver(t, cfg, named("old"))
	_, https := g.Addrs()
	outer := func() *client { return dialClient(t, https[0].String()) }
	inner := func() *client {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mine := dialClient(t, l.Addr().String())
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		g.ServeInternal(theirs, Caller{})
		return mine
	}
	shaken := func(c *client, version uint16, protocols ...string) *client {
		over := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "h.localhost", MaxVersion: version, NextProtos: protocols})
		if err := over.Handshake(); err != nil {
			t.Fatal(err)
		}
		c.Conn = over
		c.in.Reset(over)
		return c
	}
	half, halfInside := shaken(outer(), tls.VersionTLS13), shaken(inner(), tls.VersionTLS12)
	half.send(t, askHello[:10])
	halfInside.send(t, askHello[:10])
	silent := map[string]*client{
		"outside, 1.3": shaken(outer(), tls.VersionTLS13), "outside, 1.2": shaken(outer(), tls.VersionTLS12),
		"outside, HTTP/2": shaken(outer(), tls.VersionTLS13, "h2"), "outside, in the handshake": outer(),
		"inside, 1.3": shaken(inner(), tls.VersionTLS13), "inside, 1.2": shaken(inner(), tls.VersionTLS12), "inside, in the handshake": inner(),
	}
	silent["outside, in the handshake"].send(t, "\x16\x03\x01\x02\x00\x01")
	silent["inside, in the handshake"].send(t, "\x16\x03\x01\x02\x00\x01")
	waitFor(t, "the connections from outside", func() bool { return g.open.Load() == 5 })
	g.leave(t)
	hears := func(name string) {
		if _, err := io.Copy(io.Discard, silent[name].in); err != nil { // the settings of HTTP/2 come before
			t.Errorf("%s: %v, want the end", name, err)
		}
	}
	for _, name := range []string{"outside, 1.3", "outside, 1.2", "outside, HTTP/2", "outside, in the handshake"} {
		hears(name)
	}
	half.send(t, askHello[10:])
	half.answer(t, "old hello")
	for _, name := range []string{"inside, 1.3", "inside, 1.2", "inside, in the handshake"} {
		hears(name)
	}
	halfInside.send(t, askHello[10:])
	halfInside.answer(t, "old hello")
}

func TestRecords(t *testing.T) {
	record := func(kind byte, size int) []byte {
		return append([]byte{kind, 3, 3, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{recordData}, size)...)
	}
	hello, change, finished, data := record(recordHandshake, 300), record(recordChange, 1), record(recordHandshake, 40), record(recordData, 53)
	for name, tt := range map[string]struct {
		before [][]byte // what is no request
		first  []byte
	}{
		"1.3":                       {[][]byte{hello, change, data}, data},
		"1.3 without the change":    {[][]byte{hello, data}, data},
		"1.2":                       {[][]byte{hello, finished, change, finished}, data},
		"1.3 and a second hello":    {[][]byte{hello, change, hello}, data}, // as if it were 1.2: in doubt, a request
		"an alert":                  {[][]byte{hello}, record(0x15, 2)},
		"something that is not TLS": {nil, []byte("GET / HTTP/1.1\r\n")},
		"empty records":             {[][]byte{hello, change, record(recordData, 0)}, data},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			r, sent := &records{}, bytes.Join(tt.before, nil)
			for len(sent) > 0 {
				n := min(step, len(sent))
				if r.asks(sent[:n]) {
					t.Fatalf("%s, in steps of %d: a request %d bytes before there is one", name, step, len(sent))
				}
				sent = sent[n:]
			}
			if r.asks(nil) || !r.asks(tt.first[:1]) || !r.asks(tt.first[1:]) {
				t.Errorf("%s, in steps of %d: the request is not seen", name, step)
			}
		}
	}
}
