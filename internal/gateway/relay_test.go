package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawApp is an instance that treats each connection as told, one after the other, and closes it then.
func rawApp(t *testing.T, name string, treat func(net.Conn)) Instance {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			treat(conn)
			conn.Close()
		}
	}()
	return Instance{ID: name, Dial: dialTo(l.Addr().String())}
}

// pieces is an app that reads a request on each connection and then sends one piece of its answer at a time.
func pieces(t *testing.T, next <-chan string) Instance {
	return rawApp(t, "pieces", func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			for piece := range next {
				io.WriteString(conn, piece)
			}
		}
	})
}

// TestWhatHasComeIsPassedOn holds that nothing of an answer is kept back while more of it is waited for. A chunk that has come in part is not
// known to the parser of net/http.
func TestWhatHasComeIsPassedOn(t *testing.T) {
	type step struct{ send, want string } // want is of the body
	for name, steps := range map[string][]step{
		"chunks": {
			{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""}, {"5\r\nhello\r\n", "hello"}, {"3\r\nall\r\n0\r\n\r\n", "all"},
		},
		"chunks whose ends come late": {
			{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", "hello"}, {"\r\n", ""}, {"3\r\nall", "all"}, {"\r\n", ""}, {"0\r\n\r\n", ""},
		},
		"a known length": {
			{"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", ""}, {"hello", "hello"}, {"all", "all"},
		},
		"a known length, begun with the head": {
			{"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhello", "hello"}, {"all", "all"},
		},
		"until the end": {
			{"HTTP/1.1 200 OK\r\n\r\n", ""}, {"hello", "hello"}, {"all", "all"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan string)
			g, addr := start(t, Config{})
			g.SetInstances("b", []Instance{pieces(t, next)})
			if err := g.Apply(simple("h", Backend{Name: "b"})); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			var res *http.Response
			for n, s := range steps {
				next <- s.send
				if n == 0 {
					if res, err = http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
						t.Fatal("the head is held back:", err)
					}
				}
				got := make([]byte, len(s.want))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != s.want {
					t.Fatalf("after %q: got %q, %v, want %q", s.send, got, err, s.want)
				}
			}
			close(next)
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
				t.Errorf("at the end: %q, %v", rest, err)
			}
		})
	}
}

// TestInterimAnswerLeavesTheType holds that an answer without a type is not given one because an interim one went before it.
func TestInterimAnswerLeavesTheType(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>")
	})
	if res, _ := ask(t, "GET", addr, "h.localhost", "/"); res.Header["Content-Type"] != nil {
		t.Errorf("the answer got the type %q", res.Header["Content-Type"])
	}
}

// TestHTTP2ToHTTP1 sends what only HTTP/2 can to an app that speaks HTTP/1.1: a GET of which is not known at first whether it has a body, and
// bodies without a length, with trailers.
func TestHTTP2ToHTTP1(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Sum")
		fmt.Fprintf(w, "%s %s %v %d %s %v", r.Method, r.Proto, r.TransferEncoding, r.ContentLength, data, r.Trailer)
		w.Header().Set("Sum", "8")
	})
	tr := h2cClient()
	defer tr.CloseIdleConnections()
	for _, tt := range []struct{ method, body, want string }{
		{"GET", "", "GET HTTP/1.1 [] 0  map[]"},
		{"GET", "abc", "GET HTTP/1.1 [chunked] -1 abc map[]"},
		{"POST", "", "POST HTTP/1.1 [chunked] -1  map[]"},
		{"POST", "abc", "POST HTTP/1.1 [chunked] -1 abc map[Sum:[7]]"},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), tt.method, "http://"+addr+"/", io.MultiReader(strings.NewReader(tt.body)))
		r.Host, r.ContentLength = "h.localhost", -1
		if tt.method == "POST" && tt.body != "" {
			r.Trailer = http.Header{"Sum": {"7"}}
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(data) != tt.want || res.Trailer.Get("Sum") != "8" {
			t.Errorf("%s with %q: the app saw %q, want %q; %v, trailers %v", tt.method, tt.body, data, tt.want, err, res.Trailer)
		}
	}
}
