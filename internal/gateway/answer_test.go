package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// scripted is an app that reads a request on each connection, says what it is told to, and then closes.
func scripted(t testing.TB, answers ...string) func(context.Context) (net.Conn, error) {
	n := 0
	return func(context.Context) (net.Conn, error) {
		if n == len(answers) {
			return nil, errors.New("no more connections")
		}
		answer := answers[n]
		n++
		mine, theirs := socketPair(t)
		go func() {
			defer theirs.Close()
			if r, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				io.Copy(io.Discard, r.Body)
			}
			io.WriteString(theirs, answer)
		}()
		return mine, nil
	}
}

// outcome tells all that a sender learns.
func outcome(w way, r *http.Request) string {
	by := &noted{}
	res, err := w.send(r, by)
	if err == nil && res.StatusCode < 200 { // what the exchange makes of it
		res.Body.Close()
		err = errors.New("status")
	}
	by.mu.Lock()
	defer by.mu.Unlock()
	told := strings.Join(by.interims, "")
	if err != nil {
		return told + "error"
	}
	data, err := io.ReadAll(res.Body)
	res.Body.Close()
	told += fmt.Sprintf("%d %q", res.StatusCode, data)
	if err != nil {
		return told + " cut"
	}
	var fields []string
	for _, h := range []http.Header{res.Header, res.Trailer} {
		for name, values := range h {
			fields = append(fields, fmt.Sprintf(" %s=%q", name, values))
		}
		slices.Sort(fields)
		told += strings.Join(fields, "")
		fields = nil
	}
	return told
}

// oddAnswers are answers byte by byte, to GET unless the name begins with another method, and what the sender learns.
var oddAnswers = []struct{ name, raw, want string }{
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", `200 "hello" Content-Length=["5"]`},
	{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `200 "" Content-Length=["0"]`},
	{"until the end", "HTTP/1.0 200 OK\r\n\r\nhello", `200 "hello"`},
	{"until the end in 1.1", "HTTP/1.1 200 OK\r\n\r\nhello", `200 "hello"`},
	{"until the end, empty", "HTTP/1.1 200 OK\r\n\r\n", `200 ""`},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", `200 "hello"`},
	{"chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", `200 "hello"`},
	{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n5\r\nhello\r\n0\r\nSum: 7\r\n\r\n", `200 "hello" Sum=["7"]`},
	{"trailers not announced", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nSum: 7\r\n\r\n", `200 "hello" Sum=["7"]`},
	{"trailer that frames", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", "error"},
	{"chunks and a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", `200 "hello"`},
	{"chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", `200 "hello" cut`},
	{"chunks, cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", `200 "hel" cut`},
	{"chunks, cut in the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nSum: ", `200 "hello" cut`},
	{"chunk size that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n", `200 "" cut`},
	{"chunk size too large", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n", `200 "" cut`},
	{"chunk longer than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", `200 "hell" cut`},
	{"cut short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", `200 "hello" cut`},
	{"more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello", `200 "hell" Content-Length=["4"]`},
	{"two answers", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", `200 "a" Content-Length=["1"]`},
	{"two lengths that agree", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", `200 "hello" Content-Length=["5"]`},
	{"two lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello", "error"},
	{"two lengths in one line", "HTTP/1.1 200 OK\r\nContent-Length: 5, 4\r\n\r\nhello", "error"},
	{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "error"},
	{"signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "error"},
	{"length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello", "error"},
	{"length too large for any integer", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", "error"},
	{"unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "error"},
	{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "error"},
	{"chunks in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", `200 "0\r\n\r\n"`},
	{"no content", "HTTP/1.1 204 No Content\r\n\r\n", `204 ""`},
	{"no content, with some", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", `204 "" Content-Length=["5"]`},
	{"not modified, with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", `304 "" Content-Length=["5"]`},
	{"HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", `200 "" Content-Length=["5"]`},
	{"HEAD with chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", `200 ""`},
	{"HEAD with a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", `200 "" Content-Length=["5"]`},
	{"interim answers", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", `103 [a]102 []200 "a" Content-Length=["1"]`},
	{"continue that was not asked for", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", `100 []200 "a" Content-Length=["1"]`},
	{"interim answer and no more", "HTTP/1.1 103 Early Hints\r\n\r\n", `103 []error`},
	{"interim answer that is bad", "HTTP/1.1 103 Early Hints\r\nContent-Length: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "error"},
	{"another protocol that was not asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello", "error"},
	{"status 99", "HTTP/1.1 099 Low\r\nContent-Length: 1\r\n\r\na", "error"},
	{"status 999", "HTTP/1.1 999 High\r\nContent-Length: 1\r\n\r\na", `999 "a" Content-Length=["1"]`},
	{"status 1000", "HTTP/1.1 1000 Long\r\n\r\n", "error"},
	{"status 20", "HTTP/1.1 20 Short\r\n\r\n", "error"},
	{"status that is no number", "HTTP/1.1 2x0 OK\r\n\r\n", "error"},
	{"negative status", "HTTP/1.1 -20 OK\r\n\r\n", "error"},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", `200 "a" Content-Length=["1"]`},
	{"other version", "HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na", `200 "a" Content-Length=["1"]`},
	{"no version", "200 OK\r\n\r\n", "error"},
	{"other protocol", "ICY 200 OK\r\n\r\nhello", "error"},
	{"nothing", "", "error"},
	{"not HTTP at all", "\x00\x00\x12\x04\x00\x00\x00", "error"},
	{"only a line", "HTTP/1.1 200 OK\r\n", "error"},
	{"head that is cut", "HTTP/1.1 200 OK\r\nX-A: b", "error"},
	{"empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", "error"},
	{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 1\n\na", `200 "a" Content-Length=["1"]`},
	{"folded header", "HTTP/1.1 200 OK\r\nX-A: b\r\n  c\r\nContent-Length: 0\r\n\r\n", `200 "" Content-Length=["0"] X-A=["b c"]`},
	{"header without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "error"},
	{"header without a name", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "error"},
	{"header name with a space", "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n", `200 "" Content-Length=["0"] X A=["b"]`},
	{"space before the colon of a length", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", `200 "abc" Content-Length =["3"]`},
	{"first header begins with a space", "HTTP/1.1 200 OK\r\n X-A: b\r\n\r\n", "error"},
	{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", `200 "a" Content-Length=["1"]`},
	{"head that is too large", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", maxAnswerHead) + "\r\n\r\n", "error"},
	{"heads that are too large together", strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-A: "+strings.Repeat("a", maxAnswerHead/3)+"\r\n\r\n", 4) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `103 []103 []103 []103 []200 "" Content-Length=["0"]`},
}

// silence keeps net/http from telling everybody of bytes that nobody asked for.
func silence(t testing.TB) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
}

func TestOddAnswers(t *testing.T) {
	silence(t)
	onBothWays(t, func(t *testing.T, open func(func(context.Context) (net.Conn, error)) way) {
		for _, tt := range oddAnswers {
			method := "GET"
			if strings.HasPrefix(tt.name, "HEAD") {
				method = "HEAD"
			}
			w := open(scripted(t, tt.raw))
			if got := outcome(w, request(t.Context(), method, nil, 0)); got != tt.want {
				t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
			}
			w.close()
		}
	})
}

// FuzzAnswer holds that both ways learn the same from what an app says, and that nothing it says becomes the answer to another request.
func FuzzAnswer(f *testing.F) {
	for _, tt := range oddAnswers {
		if len(tt.raw) < 4096 {
			f.Add(tt.raw, strings.HasPrefix(tt.name, "HEAD"))
		}
	}
	silence(f)
	f.Fuzz(func(t *testing.T, raw string, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		const next = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
		got := map[string]string{}
		for name, open := range bothWays {
			w := open(scripted(t, raw, next))
			got[name] = outcome(w, request(t.Context(), method, nil, 0))
			if name == "wire" {
				if second := outcome(w, request(t.Context(), "GET", nil, 0)); second != `200 "next" Content-Length=["4"]` {
					t.Errorf("the request after it got %s", second)
				}
			}
			w.close()
		}
		if got["wire"] != got["net/http"] {
			t.Errorf("wire:     %s\nnet/http: %s", got["wire"], got["net/http"])
		}
	})
}
