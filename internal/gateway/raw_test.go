package gateway

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawTests are requests byte by byte. The instance answers with what it saw: "METHOD URI HOST body", then its headers of interest. A want of
// only a status means that the instance must not have seen the request.
var rawTests = []struct {
	name string
	raw  string
	want string // "200 GET / h " or "400"; several answers are separated by " | "
}{
	// Plain requests.
	{"simple", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET / h "},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "200 GET / h "},
	{"absolute form", "GET http://h/x?y=z HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /x?y=z h "},
	{"absolute form goes before Host", "GET http://h/x HTTP/1.1\r\nHost: evil\r\n\r\n", "200 GET /x h "},
	{"absolute form of an unknown host", "GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", "404"},
	{"port in Host", "GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n", "200 GET / h:8080 "},
	{"upper case Host", "GET / HTTP/1.1\r\nHost: H\r\n\r\n", "200 GET / H "},
	{"percent encoding is kept", "GET /a%2fb%41/../c;d=e//f HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /a%2fb%41/../c;d=e//f h "},
	{"query is kept as it is", "GET /?a=1;b=2&&%zz&=x HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /?a=1;b=2&&%zz&=x h "},
	{"empty query is kept", "GET /? HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /? h "},
	{"unknown method", "FROB / HTTP/1.1\r\nHost: h\r\n\r\n", "200 FROB / h "},
	{"empty line before the request", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"body with a length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "200 POST / h abc"},
	{"length zero", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "200 POST / h "},
	{"GET with a body", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "200 GET / h abc"},
	{"chunked body", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "200 POST / h abcde"},
	{"chunk extension", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", "200 POST / h abc"},
	{"upper case chunk size", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "200 POST / h 0123456789"},
	{"chunked in another case", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 POST / h abc"},
	{"pipelined", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /1 h  | 200 GET /2 h "},
	{"body then pipelined", "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "200 POST /1 h abc | 200 GET /2 h "},
	{"no more after close", "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "200 GET /1 h "},

	// What frames a message: smuggling.
	{"length and chunked: the length is dropped", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 POST / h abc"},
	{"chunked and length, the other order", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 POST / h abc"},
	{"two lengths that differ", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
	{"two lengths in one line that differ", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 4\r\n\r\nabcd", "400"},
	{"two lengths that agree", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "200 POST / h abc"},
	{"negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc", "400"},
	{"signed length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", "400"},
	{"length in hexadecimal", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", "400"},
	{"length with a space inside", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 0\r\n\r\n0123456789", "400"},
	{"empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", "400"},
	{"length too large for any integer", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc", "400"},
	{"space before the colon of a length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc", "400"},
	{"space before the colon of an encoding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
	{"unknown encoding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "501"},
	{"encoding after chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "501"},
	{"encoding before chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
	{"two encodings", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"},
	{"identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", "501"},
	{"mangled chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc", "501"},
	{"chunked with a vertical tab", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"},
	{"chunked in HTTP/1.0 is no body", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 POST / h "},
	{"folded encoding is unfolded", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 POST / h abc"},
	{"chunk size that is no number", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", "400"},
	{"chunk size with a sign", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "400"},
	{"chunk size with 0x", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", "400"},
	{"chunk size too large", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", "400"},
	{"chunk longer than it says", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "400"},
	{"chunk without an end of line", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n", "400"},
	{"smuggled request in a chunked body with a length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n", "200 POST / h  | 200 GET /admin h "},

	// Lines and headers.
	{"folded header is unfolded", "GET / HTTP/1.1\r\nHost: h\r\nX-Kept: a\r\n  b\r\n\r\n", "200 GET / h +x-kept=a b"},
	{"header line that begins with a space", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400"},
	{"header without a colon", "GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n", "400"},
	{"header without a name", "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "400"},
	{"header name with a space", "GET / HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n", "400"},
	{"header name with a null", "GET / HTTP/1.1\r\nHost: h\r\nX\x00Y: z\r\n\r\n", "400"},
	{"header value with a null", "GET / HTTP/1.1\r\nHost: h\r\nX-Y: a\x00b\r\n\r\n", "400"},
	{"header value with a lone return", "GET / HTTP/1.1\r\nHost: h\r\nX-Y: a\rb\r\n\r\n", "400"},
	{"bare line feeds", "GET / HTTP/1.1\nHost: h\n\n", "200 GET / h "},
	{"no version", "GET /\r\nHost: h\r\n\r\n", "400"},
	{"unknown version", "GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505"},
	{"version with letters", "GET / HTTP/1.x\r\nHost: h\r\n\r\n", "400"},
	{"two spaces in the request line", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"control character in the target", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"bad percent encoding", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"target without a slash", "GET x HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"method with a bad character", "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
	{"headers too large", "GET / HTTP/1.1\r\nHost: h\r\nX-Large: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", "431"},
	{"not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},

	// Hosts.
	{"no Host", "GET / HTTP/1.1\r\n\r\n", "400"},
	{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "404"},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "404"},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n", "400"},
	{"two Hosts that agree", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "400"},
	{"Host with a path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "400"},
	{"Host with a user", "GET / HTTP/1.1\r\nHost: h@h\r\n\r\n", "400"},
	{"Host with a bad character", "GET / HTTP/1.1\r\nHost: h<\r\n\r\n", "400"},
	{"Host with a comma", "GET / HTTP/1.1\r\nHost: h,evil\r\n\r\n", "404"},
	{"Host that is only in the cluster", "GET / HTTP/1.1\r\nHost: inside\r\n\r\n", "404"},
	{"unknown Host", "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "404"},

	// Methods with a meaning for proxies.
	{"CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", "405"},
	{"CONNECT with a path", "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", "405"},
	{"OPTIONS for a path", "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n", "200 OPTIONS / h "},
	{"TRACE", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "200 TRACE / h "},
	{"HTTP/2 upgrade is not taken", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", "200 GET / h +upgrade=h2c"},
	{"unknown expectation", "GET / HTTP/1.1\r\nHost: h\r\nExpect: wonders\r\n\r\n", "417"},

	// Hop by hop.
	{"named in Connection", "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Kept: 2\r\n\r\n", "200 GET / h +x-kept=2"},
	{"the usual ones", "GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nTrailer: X\r\nX-Kept: 2\r\n\r\n", "200 GET / h +x-kept=2"},
	{"TE: trailers is kept", "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n", "200 GET / h +te=trailers"},
	{"the verified caller cannot be forged", "GET / HTTP/1.1\r\nHost: h\r\nFairlead-Caller: a/b\r\n\r\n", "200 GET / h "},
	{"nor in another case", "GET / HTTP/1.1\r\nHost: h\r\nfAIRLEAD-cALLER: a/b\r\n\r\n", "200 GET / h "},
	{"Connection cannot take what the gateway sets", "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For, Forwarded\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", "200 GET / h +x-forwarded-for=1.2.3.4, 127.0.0.1"},
	{"X-Forwarded-For is continued", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\r\n", "200 GET / h +x-forwarded-for=1.2.3.4, 5.6.7.8, 127.0.0.1"},
	{"X-Forwarded-Proto cannot be forged", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\nX-Kept: 1\r\n\r\n", "200 GET / h +x-kept=1"},
}

// shown are the headers that the instance reports, besides those that every request has.
var shown = []string{"Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Mine", "X-Kept", "Fairlead-Caller"}

func tell(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var seen []string
	for _, name := range shown {
		if v := r.Header.Get(name); v != "" && (name != "Connection" || v != "Upgrade") {
			seen = append(seen, "+"+strings.ToLower(name)+"="+v)
		}
	}
	if v := r.Header.Get("X-Forwarded-For"); v != "127.0.0.1" {
		seen = append(seen, "+x-forwarded-for="+v)
	}
	if v := r.Header.Get("X-Forwarded-Proto"); v != "http" {
		seen = append(seen, "+x-forwarded-proto="+v)
	}
	sort.Strings(seen)
	fmt.Fprintf(w, "%s %s %s %s%s", r.Method, r.RequestURI, r.Host, body, strings.Join(seen, ""))
}

func TestRawRequests(t *testing.T) {
	g, addr := start(t, Config{})
	g.SetInstances("b", []Instance{app(t, "a", tell)})
	table := simple("h", Backend{Name: "b"})
	table.Routes = append(table.Routes, Route{Name: "inside", Hosts: []string{"inside"}, Visibility: ClusterLocal, Rules: one("b")})
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	if len(rawTests) < 60 {
		t.Fatalf("only %d requests", len(rawTests))
	}
	for _, tt := range rawTests {
		t.Run(tt.name, func(t *testing.T) {
			if got := converse(t, addr, tt.raw); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if s := g.Stats("b"); s.InFlight != 0 {
		t.Errorf("slots are left taken: %+v", s)
	}
}

// converse sends the bytes, then its half of the end, and gives all final answers.
func converse(t *testing.T, addr, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(conn, raw)
	var answers []string
	br := bufio.NewReader(conn)
	for n := strings.Count(raw, " HTTP/1."); len(answers) < max(n, 1); {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			break // the connection was closed
		}
		if res.StatusCode == 100 {
			continue
		}
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode == 200 {
			answers = append(answers, "200 "+string(body))
		} else {
			answers = append(answers, fmt.Sprint(res.StatusCode))
		}
		if res.Close {
			break
		}
	}
	return strings.Join(answers, " | ")
}

// TestSilentClientsAreClosed holds clients that send nothing, or too little, to the time for a header.
func TestSilentClientsAreClosed(t *testing.T) {
	_, addr := start(t, Config{HeaderTimeout: 50 * time.Millisecond})
	for _, part := range []string{"", "G", "GET / HTTP/1.1\r\nHost: h\r\n", "PRI * HTTP/2.0\r\n"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, part)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("after %q the connection stays open: %v", part, err)
		}
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestConnectionsAreBounded(t *testing.T) {
	var log lockedBuffer
	g, addr := start(t, Config{MaxConnections: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := g.Apply(simple("h", Backend{Name: "b", Handler: http.HandlerFunc(tell)})); err != nil {
		t.Fatal(err)
	}
	request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	open := func() (net.Conn, bool) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, request)
		_, err = http.ReadResponse(bufio.NewReader(conn), nil)
		return conn, err == nil
	}
	first, ok1 := open()
	second, ok2 := open()
	third, ok3 := open()
	defer second.Close()
	defer third.Close()
	if !ok1 || !ok2 || ok3 {
		t.Errorf("served %v %v %v, want the third turned away", ok1, ok2, ok3)
	}
	if fourth, ok := open(); ok {
		t.Error("a fourth is served")
	} else {
		fourth.Close()
	}
	if n := strings.Count(log.String(), "connections=2"); n != 1 {
		t.Errorf("the log says %d times that connections are turned away: %s", n, log.String())
	}
	first.Close()
	waitFor(t, "a place to be free", func() bool {
		conn, ok := open()
		conn.Close()
		return ok
	})
}
