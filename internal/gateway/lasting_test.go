package gateway

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// told is what an instance has heard on an upgraded connection, to its end.
type told struct {
	data []byte
	err  error
}

// upgrading answers with an upgrade, says first, reads as many bytes as are asked, then to the end, and gives both on a channel. What
// comes on more it says too.
func upgrading(protocol, first string, asked int, more <-chan string, heard chan<- told) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			heard <- told{nil, err}
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n%s", protocol, first)
		rw.Flush()
		go func() {
			for text := range more {
				io.WriteString(conn, text)
			}
		}()
		begin := make([]byte, asked)
		_, err = io.ReadFull(rw, begin)
		heard <- told{begin, err}
		data, err := io.ReadAll(rw)
		heard <- told{data, err}
	}
}

// upgrade asks for a protocol and reads the answer.
func (c *client) upgrade(t *testing.T, protocol string) {
	t.Helper()
	c.send(t, "GET / HTTP/1.1\r\nHost: h.localhost\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal("no upgrade:", res, err)
	}
}

func (c *client) expect(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

const (
	goodbye       = "\x88\x02\x03\xe9"
	maskedGoodbye = "\x88\x82\x00\x00\x00\x00\x03\xe9"
)

// TestUpgradedEnd: where instances outlive the gateway, both ends of a WebSocket are told, never within a frame; others see an orderly end.
func TestUpgradedEnd(t *testing.T) {
	for _, test := range []struct {
		name, protocol     string
		first, more        string // said by the instance before and after the end has begun
		asked              string // sent by the client before
		toClient, toServer string // what each reads at the end
		secure             bool
	}{
		{name: "idle", protocol: "websocket", first: "\x81\x02hi", asked: "\x81\x80\x01\x02\x03\x04", toClient: goodbye, toServer: maskedGoodbye},
		{name: "tls", protocol: "WebSocket", first: "\x81\x02hi", toClient: goodbye, toServer: maskedGoodbye, secure: true},
		{name: "within a frame", protocol: "websocket", first: "\x81\x05hel", more: "lo\x81\x09lost", toClient: "lo" + goodbye, toServer: maskedGoodbye},
		{name: "client within a frame", protocol: "websocket", first: "\x81\x00", asked: "\x81\x85", toClient: goodbye},
		{name: "another protocol", protocol: "words", first: "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			more, heard := make(chan string), make(chan told, 2)
			defer close(more)
			cfg := Config{LameDuck: 1, Outlived: func() bool { return true }}
			if test.secure {
				cfg.HTTPS, cfg.TLS = []string{"127.0.0.1:0"}, TLS{Dir: t.TempDir()}
			}
			g := startLeaver(t, cfg, upgrading(test.protocol, test.first, len(test.asked), more, heard))
			if test.toServer != "" { // the client answers the end, and may be slow
				g.lasting.partTime = time.Minute
			}
			plain, https := g.Addrs()
			c := dialClient(t, append(https, plain...)[0].String())
			if test.secure {
				c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "h.localhost"})
				c.in.Reset(c.Conn)
			}
			c.upgrade(t, test.protocol)
			c.expect(t, test.first)
			c.send(t, test.asked)
			if got := <-heard; got.err != nil || string(got.data) != test.asked {
				t.Fatalf("the instance heard %q, %v, want %q", got.data, got.err, test.asked)
			}
			waitFor(t, "the gateway is done with that", g.lasting.quiet)
			g.end()
			if test.more != "" {
				waitFor(t, "the end is waited for", g.lasting.isEnding)
				more <- test.more
			}
			c.expect(t, test.toClient)
			if test.toServer != "" {
				c.send(t, "\x88\x82\x00\x00\x00\x00\x03\xe9") // the client's part of the end
			}
			if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("after the end: read %d bytes, %v", n, err)
			}
			if got := <-heard; got.err != nil || string(got.data) != test.toServer {
				t.Errorf("the instance heard %q, %v, want %q", got.data, got.err, test.toServer)
			}
		})
	}
}

// quiet says that nothing is on its way to the instances.
func (s *lastingSet) quiet() bool {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, l := range all {
		l.mu.Lock()
		writing := l.writing
		l.mu.Unlock()
		if writing {
			return false
		}
	}
	return true
}

func (s *lastingSet) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// FuzzFrames: however what is said is cut into pieces, frames end at the same places.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x88\x02\x03\xe9"), 1)
	f.Add([]byte("\x82\x7e\x01\x00"+strings.Repeat("x", 256)+"\x81\x80mask"), 3)
	f.Add([]byte("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x"), 2)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		if piece < 1 || piece > 1<<20 {
			return
		}
		var one, many frames
		want, got, at := one.feed(data), 0, 0
		for len(data[at:]) > 0 {
			n := min(piece, len(data)-at)
			if whole := many.feed(data[at : at+n]); whole > 0 {
				got = at + whole
			}
			at += n
		}
		if got != want || one.left != many.left || !bytes.Equal(one.header, many.header) || one.closed != many.closed {
			t.Errorf("whole: frames end at %d, %+v; in pieces of %d: at %d, %+v", want, one, piece, got, many)
		}
	})
}
