package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// bothWays are what holds the contract of a way over HTTP/1.1.
var bothWays = map[string]func(dial func(context.Context) (net.Conn, error)) way{
	"wire":     func(dial func(context.Context) (net.Conn, error)) way { return newWay("a", dial, HTTP1) },
	"net/http": func(dial func(context.Context) (net.Conn, error)) way { return newStandard(dial, HTTP1) },
}

// onBothWays runs a test on each way.
func onBothWays(t *testing.T, test func(t *testing.T, open func(dial func(context.Context) (net.Conn, error)) way)) {
	for name, open := range bothWays {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// noted is a witness.
type noted struct {
	written, answered atomic.Bool
	mu                sync.Mutex
	interims          []string
}

func (n *noted) wrote() { n.written.Store(true) }
func (n *noted) began() { n.answered.Store(true) }
func (n *noted) interim(status int, h http.Header) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.interims = append(n.interims, fmt.Sprint(status, h["Link"]))
	return nil
}

// socketPair gives the two ends of a connection.
func socketPair(t testing.TB) (mine, theirs net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for n, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[n], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends[0], ends[1]
}

func request(ctx context.Context, method string, body io.Reader, length int64) *http.Request {
	r := (&http.Request{
		Method: method, Host: "h", URL: &url.URL{Scheme: "http", Host: "instance", Path: "/"}, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: length,
	}).WithContext(ctx)
	if body != nil {
		r.Body = io.NopCloser(body)
	}
	return r
}

// counted counts the connections that are made.
func counted(dial func(context.Context) (net.Conn, error), n *atomic.Int32) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		n.Add(1)
		return dial(ctx)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	onBothWays(t, func(t *testing.T, open func(func(context.Context) (net.Conn, error)) way) {
		var dials atomic.Int32
		in := app(t, "a", func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			if r.Method != "HEAD" {
				w.Write(data)
			}
		})
		w := open(counted(in.Dial, &dials))
		defer w.close()
		for n := range 20 {
			var r *http.Request
			switch n % 4 {
			case 0:
				r = request(t.Context(), "GET", nil, 0)
			case 1:
				r = request(t.Context(), "POST", strings.NewReader("body"), 4)
			case 2:
				r = request(t.Context(), "POST", strings.NewReader("body"), -1)
			case 3:
				r = request(t.Context(), "HEAD", nil, 0)
			}
			if got := outcome(w, r); !strings.HasPrefix(got, "200") {
				t.Fatalf("request %d: %s", n, got)
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections for 20 requests one after the other", n)
		}
	})
}

// TestClosedConnectionIsNotUsed has the app close, or speak on, each connection after an answer: a request that may not be repeated
// must not be sent there.
func TestClosedConnectionIsNotUsed(t *testing.T) {
	for name, more := range map[string]string{"closed": "", "spoken on": "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"} {
		t.Run(name, func(t *testing.T) {
			said := make(chan struct{})
			w := bothWays["wire"](func(context.Context) (net.Conn, error) {
				mine, theirs := socketPair(t)
				go func() {
					br := bufio.NewReader(theirs)
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
					<-said // the answer has been read
					io.WriteString(theirs, more)
					if more == "" {
						theirs.Close()
					}
					said <- struct{}{}
				}()
				return mine, nil
			})
			defer w.close()
			for n := range 10 {
				if got := outcome(w, request(t.Context(), "POST", nil, 0)); got != `200 "true" Content-Length=["4"]` {
					t.Fatalf("request %d: %s", n, got)
				}
				said <- struct{}{}
				<-said
			}
		})
	}
}

func TestSenderGivesUp(t *testing.T) {
	onBothWays(t, func(t *testing.T, open func(func(context.Context) (net.Conn, error)) way) {
		came, gone := make(chan struct{}, 2), make(chan struct{}, 1)
		in := app(t, "a", func(w http.ResponseWriter, r *http.Request) {
			came <- struct{}{}
			if r.Method == "PUT" { // gives up while the body comes
				io.WriteString(w, "begun")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			gone <- struct{}{}
		})
		w := open(in.Dial)
		defer w.close()
		enough := errors.New("enough")
		for _, method := range []string{"GET", "PUT"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			if method == "GET" {
				go func() {
					<-came
					cancel(enough)
				}()
			}
			res, err := w.send(request(ctx, method, nil, 0), &noted{})
			if method == "PUT" && err == nil {
				buf := make([]byte, 5)
				if _, err = io.ReadFull(res.Body, buf); err == nil {
					cancel(enough)
					_, err = io.ReadAll(res.Body)
				}
				res.Body.Close()
			}
			if !errors.Is(err, enough) && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want the cause", method, err)
			}
			cancel(nil)
			<-gone
		}
	})
}

// TestAnswerBeforeTheBody holds that an answer is there before the body of its request, and that what is wrong with that body is told.
func TestAnswerBeforeTheBody(t *testing.T) {
	onBothWays(t, func(t *testing.T, open func(func(context.Context) (net.Conn, error)) way) {
		in := app(t, "a", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/early" {
				http.NewResponseController(w).EnableFullDuplex()
				io.WriteString(w, "early")
				http.NewResponseController(w).Flush()
			}
			data, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, " %s %v", data, err)
		})
		w := open(in.Dial)
		defer w.close()
		pr, pw := io.Pipe()
		r := request(t.Context(), "POST", pr, -1)
		r.URL.Path = "/early"
		res, err := w.send(r, &noted{})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(pw, "late")
		pw.Close()
		if data, err := io.ReadAll(res.Body); err != nil || string(data) != "early late <nil>" {
			t.Errorf("got %q, %v", data, err)
		}
		for _, length := range []int64{-1, 10} {
			pr, pw = io.Pipe()
			broken := errors.New("broken")
			go func() {
				io.WriteString(pw, "some")
				pw.CloseWithError(broken)
			}()
			if _, err := w.send(request(t.Context(), "POST", pr, length), &noted{}); !errors.Is(err, broken) {
				t.Errorf("a body that cannot be read, length %d: %v", length, err)
			}
		}
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	onBothWays(t, func(t *testing.T, open func(func(context.Context) (net.Conn, error)) way) {
		synctest.Test(t, func(t *testing.T) {
			var dials atomic.Int32
			w := open(counted(piped(t, "a", func(http.ResponseWriter, *http.Request) {}).Dial, &dials))
			ask := func(want int32) {
				t.Helper()
				if got := outcome(w, request(t.Context(), "GET", nil, 0)); !strings.HasPrefix(got, "200") || dials.Load() != want {
					t.Errorf("%s on connection %d, want %d", got, dials.Load(), want)
				}
				synctest.Wait()
			}
			ask(1)
			time.Sleep(idleConnTimeout - time.Second)
			ask(1)
			time.Sleep(idleConnTimeout - time.Second)
			ask(1)
			time.Sleep(idleConnTimeout + time.Second)
			ask(2)
			w.close()
		})
	})
}

// TestHeads compares what both ways send.
func TestHeads(t *testing.T) {
	heads := func(open func(func(context.Context) (net.Conn, error)) way, r *http.Request) string {
		mine, theirs := socketPair(t)
		got := make(chan string, 1)
		go func() {
			in, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				got <- "nothing"
				return
			}
			body, err := io.ReadAll(in.Body)
			got <- fmt.Sprint(in.Method, in.RequestURI, in.Host, in.Header, in.ContentLength, in.TransferEncoding, string(body), in.Trailer, err)
			io.WriteString(theirs, "HTTP/1.1 204 No Content\r\n\r\n")
		}()
		w := open(func(context.Context) (net.Conn, error) { return mine, nil })
		defer w.close()
		if outcome(w, r) == "error" {
			mine.Close()
		}
		return <-got
	}
	for name, change := range map[string]func(*http.Request){
		"plain":               func(r *http.Request) {},
		"query":               func(r *http.Request) { r.URL.RawQuery = "a=1;b&&%zz" },
		"empty query":         func(r *http.Request) { r.URL.ForceQuery = true },
		"path":                func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b c", "/a%2fb%20c" },
		"star":                func(r *http.Request) { r.Method, r.URL.Path = "OPTIONS", "*" },
		"zone":                func(r *http.Request) { r.Host = "[fe80::1%eth0]:80" },
		"no host":             func(r *http.Request) { r.Host = "" },
		"agent":               func(r *http.Request) { r.Header["User-Agent"] = []string{"curl"} },
		"empty values":        func(r *http.Request) { r.Header["X-A"] = []string{"", " b "} },
		"values":              func(r *http.Request) { r.Header["X-A"] = []string{"b", "c"} },
		"framing in headers":  func(r *http.Request) { r.Header["Content-Length"] = []string{"7"} },
		"encoding in headers": func(r *http.Request) { r.Header["Transfer-Encoding"] = []string{"chunked"} },
		"empty POST":          func(r *http.Request) { r.Method = "POST" },
		"empty DELETE":        func(r *http.Request) { r.Method = "DELETE" },
		"length": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("abc")), 3
		},
		"chunks": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("abc")), -1
		},
		"many chunks": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(strings.Repeat("abc", 50_000))), -1
		},
		"trailers": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("abc")), -1
			r.Trailer = http.Header{"Sum": {"1", "2"}, "X-A": {"b"}}
		},
		"GET that may have a body": func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), -1 },
		"line in a value":          func(r *http.Request) { r.Header["X-A"] = []string{"b\r\nX-B: c"} },
		"line in a name":           func(r *http.Request) { r.Header["X-A: b\r\nX-B"] = []string{"c"} },
		"line in the method":       func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX-B:" },
		"line in the query":        func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX-B: c" },
	} {
		var got []string
		for _, open := range bothWays {
			r := request(t.Context(), "GET", nil, 0)
			change(r)
			got = append(got, heads(open, r))
		}
		if got[0] != got[1] {
			t.Errorf("%s: the ways send\n%s\n%s", name, got[0], got[1])
		}
		if strings.HasPrefix(name, "line") && got[0] != "nothing" {
			t.Errorf("%s: sent %s", name, got[0])
		}
	}
}

// TestConnectionOfDrainedInstanceEnds holds that a connection that was in use when its instance was taken out is not kept.
func TestConnectionOfDrainedInstanceEnds(t *testing.T) {
	g, addr := start(t, Config{})
	asked, go1, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	g.SetInstances("b", []Instance{{ID: "a", Dial: func(context.Context) (net.Conn, error) {
		mine, theirs := socketPair(t)
		go func() {
			br := bufio.NewReader(theirs)
			if _, err := http.ReadRequest(br); err != nil {
				ended <- err
				return
			}
			close(asked)
			<-go1
			io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
			_, err := br.ReadByte()
			ended <- err
		}()
		return mine, nil
	}}})
	if err := g.Apply(simple("h", Backend{Name: "b"})); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string)
	go func() {
		_, body := ask(t, "GET", addr, "h", "/")
		answered <- body
	}()
	<-asked
	g.SetInstances("b", nil)
	close(go1)
	if body := <-answered; body != "done" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v, want an orderly end", err)
	}
}
