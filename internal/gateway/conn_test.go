package gateway

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// leaver is a gateway with one service, which is ended by the test.
type leaver struct {
	*Gateway
	addr string
	end  context.CancelFunc
	done chan error
}

func startLeaver(t *testing.T, cfg Config, h http.HandlerFunc) *leaver {
	t.Helper()
	cfg.HTTP, cfg.DrainTimeout = []string{"127.0.0.1:0"}, cmp.Or(cfg.DrainTimeout, time.Minute)
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(simple("h.localhost", Backend{Name: "b"})); err != nil {
		t.Fatal(err)
	}
	g.SetInstances("b", []Instance{app(t, "a", h)})
	ctx, cancel := context.WithCancel(context.Background())
	l := &leaver{Gateway: g, end: cancel, done: make(chan error, 1)}
	go func() { l.done <- g.Run(ctx, nil) }()
	plain, _ := g.Addrs()
	l.addr = plain[0].String()
	t.Cleanup(func() {
		cancel()
		if err := <-l.done; err != nil {
			t.Error("Run:", err)
		}
	})
	return l
}

// leave begins the end and waits until it has begun.
func (l *leaver) leave(t *testing.T) {
	t.Helper()
	l.end()
	waitFor(t, "the end has begun", l.leaving.Load)
}

// client is one connection.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dialClient(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &client{conn, bufio.NewReader(conn)}
}

const askHello = "POST / HTTP/1.1\r\nHost: h.localhost\r\nContent-Length: 5\r\n\r\nhello"

func (c *client) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer and says whether it was the last one.
func (c *client) answer(t *testing.T, want string) (last bool) {
	t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal("no answer:", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != want {
		t.Fatalf("answer %s %q %v, want %q", res.Status, body, err, want)
	}
	return res.Close
}

// named answers with its name and what was asked.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", name, body)
	}
}

// TestPassOn ends a gateway while clients are in every state, and the successor goes on where they were.
func TestPassOn(t *testing.T) {
	next := startLeaver(t, Config{}, named("next"))
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	old := startLeaver(t, Config{LameDuck: time.Minute, PassOn: func(conn net.Conn) bool {
		next.ServeConn(conn)
		return true
	}}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.Header().Set("Content-Length", "4")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-held
		}
		named("old")(w, r)
	})
	t.Cleanup(release)
	used, unused, half, long := dialClient(t, old.addr), dialClient(t, old.addr), dialClient(t, old.addr), dialClient(t, old.addr)
	used.send(t, askHello)
	if used.answer(t, "old hello") {
		t.Error("the connection is to be closed, before the end")
	}
	half.send(t, askHello[:20])
	long.send(t, "GET /long HTTP/1.1\r\nHost: h.localhost\r\n\r\n")
	begun, err := http.ReadResponse(long.in, nil)
	if err != nil || begun.Close {
		t.Fatal("the answer before the end:", begun, err)
	}
	waitFor(t, "four connections, two of them idle", func() bool {
		old.conns.mu.Lock()
		defer old.conns.mu.Unlock()
		busy := 0
		for c := range old.conns.open {
			if c.idle.Load() == 0 {
				busy++
			}
		}
		return len(old.conns.open) == 4 && busy == 2
	})
	old.leave(t)
	waitFor(t, "the successor has the idle ones", func() bool { return next.open.Load() == 2 })

	for range 2 {
		used.send(t, askHello)
		unused.send(t, askHello)
		if used.answer(t, "next hello") || unused.answer(t, "next hello") {
			t.Error("the connection is to be closed")
		}
	}
	half.send(t, askHello[20:])
	if !half.answer(t, "old hello") {
		t.Error("a client that began a request before the end is not told of it")
	}
	// An answer whose header was sent before the end: its client does not know, and goes on with the successor.
	release()
	if body, err := io.ReadAll(begun.Body); err != nil || string(body) != "old " {
		t.Errorf("got %q, %v", body, err)
	}
	waitFor(t, "the successor has it", func() bool { return next.open.Load() == 3 })
	long.send(t, askHello)
	long.answer(t, "next hello")
}

// TestIdleIsClosed ends a gateway that has no successor: connections are closed one by one, after each had its time.
func TestIdleIsClosed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) {
			t.Parallel()
			cfg := Config{LameDuck: 5 * time.Second}
			if secure {
				cfg.HTTPS, cfg.TLS = []string{"127.0.0.1:0"}, TLS{Dir: t.TempDir()}
			}
			g := startLeaver(t, cfg, named("old"))
			addr := g.addr
			if secure {
				_, https := g.Addrs()
				addr = https[0].String()
			}
			var clients []*client
			for range 3 {
				c := dialClient(t, addr)
				if secure {
					c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "h.localhost"})
					c.in.Reset(c.Conn)
				}
				c.send(t, askHello)
				c.answer(t, "old hello")
				clients = append(clients, c)
			}
			unused := dialClient(t, addr)
			waitFor(t, "four connections", func() bool { return g.open.Load() == 4 })
			g.leave(t)
			clients[0].send(t, askHello)
			if !clients[0].answer(t, "old hello") {
				t.Error("a client that asks during the end is not told of it")
			}
			for _, c := range append(clients, unused) {
				if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("read %d bytes, %v, want the end", n, err)
				}
			}
		})
	}
}

// TestLeaveReadsFirst: what a client has sent before its connection was to be closed is read, and not a byte of it twice.
func TestLeaveReadsFirst(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for round := range 300 {
		there, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		set := &connections{open: map[*conn]struct{}{}}
		c := set.add(&conn{Conn: here})
		read := make(chan string, 1)
		go func() {
			buf := make([]byte, 64)
			n, _ := c.Read(buf)
			read <- string(buf[:n])
		}()
		if round%2 == 0 {
			set.sweep() // the reader may be closed, or not yet reading
		}
		_, err = io.WriteString(there, "hello")
		set.sweep()
		set.sweep()
		got := <-read
		if got != "hello" && (got != "" || round%2 == 1) {
			t.Fatalf("round %d: read %q, sent %v", round, got, err)
		}
		c.Close()
		there.Close()
	}
}

// TestPartedClient: a client whose connection over TLS ends hears it by an orderly end, before and after it has sent more requests,
// and those reach no instance.
func TestPartedClient(t *testing.T) {
	var served atomic.Int64
	g := startLeaver(t, Config{LameDuck: time.Millisecond, HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: t.TempDir()}}, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		named("old")(w, r)
	})
	_, https := g.Addrs()
	c := dialClient(t, https[0].String())
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "h.localhost"})
	c.in.Reset(c.Conn)
	c.send(t, askHello)
	c.answer(t, "old hello")
	g.conns.partTime = time.Minute // however slow this client is
	g.leave(t)
	if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, %v, want an orderly end", n, err)
	}
	for range 20 { // a connection that was reset does not take so many
		c.send(t, askHello)
	}
	if n, err := c.in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after more requests: read %d bytes, %v, want an orderly end", n, err)
	}
	c.Close()
	waitFor(t, "the connection is gone", func() bool { return g.open.Load() == 0 })
	if n := served.Load(); n != 1 {
		t.Errorf("%d requests were served, want 1", n)
	}
}

// TestEndAmongRequests ends gateways while clients ask now and then, some of them in the moment in which their connection ends: they are
// answered, or hear an orderly end and were not served. Nobody is served without an answer, and nobody's connection breaks.
func TestEndAmongRequests(t *testing.T) {
	dir := t.TempDir()
	var asked, answered, ended atomic.Int64
	for round := range 12 {
		secure := round%3 > 0
		var served sync.Map
		cfg := Config{LameDuck: 3 * time.Millisecond}
		if secure {
			cfg.HTTPS, cfg.TLS = []string{"127.0.0.1:0"}, TLS{Dir: dir}
		}
		g := startLeaver(t, cfg, func(w http.ResponseWriter, r *http.Request) {
			served.Store(r.URL.Path, true)
			named("old")(w, r)
		})
		var ready, clients sync.WaitGroup
		for n := range 24 {
			ready.Add(1)
			clients.Go(func() {
				got := askUntilEnd(g, secure, n, ready.Done)
				asked.Add(int64(got.asked))
				answered.Add(int64(got.asked - len(got.unanswered)))
				if got.err != nil {
					t.Errorf("client %d, tls=%v: %v", n, secure, got.err)
				}
				for _, path := range got.unanswered {
					ended.Add(1)
					if _, was := served.Load(path); was {
						t.Errorf("client %d, tls=%v: %s was served and not answered", n, secure, path)
					}
				}
			})
		}
		ready.Wait()
		g.conns.partTime = time.Minute // however slow the clients are here
		g.leave(t)
		clients.Wait()
	}
	t.Logf("%d requests, %d answered, %d met the end", asked.Load(), answered.Load(), ended.Load())
}

// asking is what a client has met.
type asking struct {
	asked      int
	unanswered []string
	err        error
}

// askUntilEnd asks after pauses around Config.LameDuck until the connection ends.
func askUntilEnd(g *leaver, secure bool, n int, ready func()) (got asking) {
	ready = sync.OnceFunc(ready)
	defer ready()
	plain, https := g.Addrs()
	address := plain[0].String()
	if secure {
		address = https[0].String()
	}
	var conn net.Conn
	if conn, got.err = net.Dial("tcp", address); got.err != nil {
		return got
	}
	defer func() { conn.Close() }()
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "h.localhost"})
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	for {
		path := fmt.Sprintf("/%d/%d", n, got.asked)
		got.asked++
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h.localhost\r\n\r\n", path); err != nil {
			got.err = fmt.Errorf("sending: %w", err)
			return got
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			got.unanswered = append(got.unanswered, path)
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				got.err = fmt.Errorf("reading the answer: %w", err)
			}
			return got
		}
		_, got.err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got.err != nil || res.Close {
			return got
		}
		ready()
		<-time.After(time.Duration(rand.IntN(8000)) * time.Microsecond)
	}
}
