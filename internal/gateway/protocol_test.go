package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// serveApp gives a gateway with the one host h.localhost in front of an app.
func serveApp(t *testing.T, b Backend, h http.HandlerFunc) (*Gateway, string) {
	t.Helper()
	b.Name = "b"
	g, addr := start(t, Config{})
	g.SetInstances("b", []Instance{app(t, "a", h)})
	if err := g.Apply(simple("h.localhost", b)); err != nil {
		t.Fatal(err)
	}
	return g, addr
}

func TestWebSocket(t *testing.T) {
	_, addr := serveApp(t, Backend{IdleTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error("accept:", err)
			return
		}
		defer c.CloseNow()
		kind, data, err := c.Read(r.Context())
		if err == nil {
			err = c.Write(r.Context(), kind, append([]byte("echo "), data...))
		}
		if err != nil {
			t.Error("echo:", err)
		}
		c.Close(websocket.StatusNormalClosure, "")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+addr, &websocket.DialOptions{Host: "h.localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := c.Read(ctx); err != nil || string(data) != "echo hello" {
		t.Errorf("got %q, %v", data, err)
	}
}

// TestDrainLeavesWebSockets holds that a WebSocket does not hold up the end of its instance, and goes on meanwhile.
func TestDrainLeavesWebSockets(t *testing.T) {
	g, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error("accept:", err)
			return
		}
		defer conn.CloseNow()
		for err == nil {
			var data []byte
			if _, data, err = conn.Read(r.Context()); err == nil {
				err = conn.Write(r.Context(), websocket.MessageText, data)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+addr, &websocket.DialOptions{Host: "h.localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	echo := func(when string) {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte(when)); err != nil {
			t.Fatal(err)
		}
		if _, data, err := conn.Read(ctx); err != nil || string(data) != when {
			t.Fatalf("%s: got %q, %v", when, data, err)
		}
	}
	echo("before")
	if err := g.Drain(ctx, "b", "a"); err != nil {
		t.Fatal("the connection holds up the drain:", err)
	}
	echo("after")
}

// h2cClient speaks HTTP/2 without TLS to the gateway.
func h2cClient() *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

func TestH2CBothWays(t *testing.T) {
	_, addr := serveApp(t, Backend{Protocol: H2C}, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the instance was spoken to in %s", r.Proto)
		}
		w.Header().Set("Trailer", "Grpc-Status")
		rc := http.NewResponseController(w)
		sc := bufio.NewScanner(r.Body)
		for sc.Scan() { // answers each line as it comes
			fmt.Fprintf(w, "got %s\n", sc.Text())
			rc.Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Late", "yes")
	})
	tr := h2cClient()
	defer tr.CloseIdleConnections()
	pr, pw := io.Pipe()
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/", pr)
	r.Host = "h.localhost"
	r.Header.Set("Te", "trailers")
	go fmt.Fprintln(pw, "one")
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, word := range []string{"one", "two", "three"} {
		if word != "one" {
			fmt.Fprintln(pw, word)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "got "+word+"\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	pw.Close()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Late") != "yes" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

func TestHTTP1StreamsBothWays(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		sc := bufio.NewScanner(r.Body)
		for sc.Scan() {
			fmt.Fprintf(w, "got %s\n", sc.Text())
			rc.Flush()
		}
		io.WriteString(w, "trailer "+r.Trailer.Get("Sum")+"\n")
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: h.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n4\r\none\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(res.Body)
	if line, _ := body.ReadString('\n'); line != "got one\n" {
		t.Fatalf("got %q", line)
	}
	fmt.Fprintf(conn, "4\r\ntwo\n\r\n")
	if line, _ := body.ReadString('\n'); line != "got two\n" {
		t.Fatalf("got %q", line)
	}
	fmt.Fprintf(conn, "0\r\nSum: 42\r\n\r\n")
	if line, _ := body.ReadString('\n'); line != "trailer 42\n" {
		t.Errorf("got %q: the trailer of a request was lost", line)
	}
}

func TestServerSentEvents(t *testing.T) {
	step := make(chan struct{})
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Length", "18") // even so
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-step
		io.WriteString(w, "data: 2\n\n")
	})
	r, _ := http.NewRequest("GET", "http://"+addr, nil)
	r.Host = "h.localhost"
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 9)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
		t.Fatalf("first event %q, %v", buf, err)
	}
	close(step)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: 2\n\n" {
		t.Errorf("second event %q, %v", rest, err)
	}
}

func TestSlowBodyOfKnownLengthIsNotHeldBack(t *testing.T) {
	step := make(chan struct{})
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		<-step
		io.WriteString(w, "b")
	})
	r, _ := http.NewRequest("GET", "http://"+addr, nil)
	r.Host = "h.localhost"
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	one := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, one); err != nil || one[0] != 'a' {
		t.Fatalf("first byte %q, %v", one, err)
	}
	close(step)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "b" {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func TestContinueIsPassedOn(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "100-continue" {
			t.Error("Expect did not reach the instance")
		}
		if r.URL.Path == "/no" {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Write(bytes.ToUpper(body))
	})
	try := func(path string) (first, second int, body string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h.localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", path)
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first = res.StatusCode; first != 100 {
			return first, 0, ""
		}
		io.WriteString(conn, "abc")
		for res.StatusCode == 100 {
			if res, err = http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
		}
		data, _ := io.ReadAll(res.Body)
		return first, res.StatusCode, string(data)
	}
	if first, second, body := try("/"); first != 100 || second != 200 || body != "ABC" {
		t.Errorf("got %d, %d %q", first, second, body)
	}
	if first, _, _ := try("/no"); first != 413 {
		t.Errorf("a refusal before the body came as %d, want 413", first)
	}
}

func TestEarlyHints(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		io.WriteString(w, "ok")
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h.localhost\r\n\r\n")
	br := bufio.NewReader(conn)
	for _, want := range []int{103, 200} {
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("got %v, %v, want %d", res, err, want)
		}
	}
}

func TestClientAbortReachesInstance(t *testing.T) {
	for _, proto := range []Protocol{HTTP1, H2C} {
		entered, gone := make(chan struct{}), make(chan struct{})
		g, addr := serveApp(t, Backend{Protocol: proto}, func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(gone)
		})
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr, nil)
		r.Host = "h.localhost"
		done := make(chan error, 1)
		go func() {
			_, err := http.DefaultTransport.RoundTrip(r)
			done <- err
		}()
		<-entered
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("client: %v", err)
		}
		<-gone
		waitFor(t, "the slot to be free", func() bool { return g.Stats("b").InFlight == 0 })
	}
}

func TestInstanceAbortReachesClient(t *testing.T) {
	_, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	r, _ := http.NewRequest("GET", "http://"+addr, nil)
	r.Host = "h.localhost"
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if data, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a cut answer ended as if it were whole: %q", data)
	}
}

func TestRoundTripper(t *testing.T) {
	g, _ := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/hang":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		w.Header().Set("Trailer", "Sum")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Host, body)
		w.Header().Set("Sum", "7")
	})
	client := &http.Client{Transport: g.RoundTripper(Caller{})}
	res, err := client.Post("http://h.localhost/x", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil || string(data) != "h.localhost body" || res.Trailer.Get("Sum") != "7" {
		t.Errorf("got %q, %v, trailers %v", data, err, res.Trailer)
	}
	if res, err = client.Get("http://h.localhost/cut"); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a cut answer ended as if it were whole: %q", data)
	}
	if res, err = client.Get("http://h.localhost/hang"); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	waitFor(t, "the hanging request to end", func() bool { return g.Stats("b").InFlight == 0 })
	if res, err = client.Get("http://nobody.localhost/"); err != nil || res.StatusCode != 404 {
		t.Fatalf("unknown host: %v, %v", res, err)
	}
	res.Body.Close()
}

func TestInternalCallers(t *testing.T) {
	g, addr := start(t, Config{})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Fairlead-Caller"))
	})})
	table := simple("hello.default.svc.cluster.local", Backend{Name: "b"})
	table.Routes[0].Visibility = ClusterLocal
	table.Routes[0].AllowFrom = []string{"shop/cart", "team/*"}
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	if res, _ := ask(t, "GET", addr, "hello.default.svc.cluster.local", "/"); res.StatusCode != 404 {
		t.Errorf("from outside: %d, want 404", res.StatusCode)
	}
	tests := []struct {
		caller Caller
		host   string
		status int
	}{
		{Caller{Namespace: "shop", Service: "cart"}, "hello.default.svc.cluster.local", 200},
		{Caller{Namespace: "shop", Service: "cart", Search: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}}, "hello.default", 200},
		{Caller{Namespace: "team", Service: "any", Search: []string{"default.svc.cluster.local"}}, "hello", 200},
		{Caller{Namespace: "shop", Service: "other"}, "hello.default.svc.cluster.local", 403},
		{Caller{Namespace: "shop", Service: "cart"}, "hello", 404},
	}
	for _, tt := range tests {
		mine, theirs := net.Pipe()
		g.ServeInternal(theirs, tt.caller)
		tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return mine, nil }}
		r, _ := http.NewRequest("GET", "http://"+tt.host+"/", nil)
		r.Header.Set("Fairlead-Caller", "forged/name")
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(res.Body)
		if res.StatusCode != tt.status {
			t.Errorf("%+v to %s: %d %q, want %d", tt.caller, tt.host, res.StatusCode, data, tt.status)
		}
		if want := tt.caller.Namespace + "/" + tt.caller.Service; tt.status == 200 && string(data) != want {
			t.Errorf("the instance saw the caller %q, want %q", data, want)
		}
		tr.CloseIdleConnections()
	}
}

func TestPublishedConnections(t *testing.T) {
	g, _ := start(t, Config{})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from %q", r.Host, r.Header.Get("Fairlead-Caller"))
	})})
	table := simple("hello.default.example.com", Backend{Name: "b"})
	table.Routes[0].Redirect = RedirectToHTTPS
	table.Routes = append(table.Routes, Route{Name: "inner", Hosts: []string{"inner"}, Visibility: ClusterLocal, Rules: table.Routes[0].Rules})
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"hello.default.example.com": `200 localhost:3000 from ""`,
		"gone.default.example.com":  "404",
		"inner":                     "404",
	} {
		mine, theirs := net.Pipe()
		g.ServePublished(theirs, host)
		tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return mine, nil }}
		r, _ := http.NewRequest("GET", "http://localhost:3000/", nil)
		r.Header.Set("Fairlead-Caller", "forged/name")
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if got := fmt.Sprintf("%d %s", res.StatusCode, data); !strings.HasPrefix(got, want) {
			t.Errorf("a port of %s answers %s, want %s", host, got, want)
		}
		tr.CloseIdleConnections()
	}
}

func TestPolicyOfRule(t *testing.T) {
	table := simple("hello.example.com", Backend{Name: "b", Handler: http.NotFoundHandler()})
	table.Routes[0].Rules[0].AllowFrom = []string{"shop/*", "external"}
	backends := map[string]*backend{}
	choose := func(policy []string, c Caller) refusal {
		table.Routes[0].AllowFrom = policy
		rs, _, err := compile(table, func(name string) *backend {
			if backends[name] == nil {
				backends[name] = &backend{}
				backends[name].spec.Store(&table.Backends[0])
			}
			return backends[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", "http://hello.example.com/", nil)
		return (&exchange{in: r, caller: &c}).choose(rs.host("hello.example.com"))
	}
	cart := Caller{Internal: true, Namespace: "shop", Service: "cart"}
	other := Caller{Internal: true, Namespace: "other", Service: "cart"}
	for _, tt := range []struct {
		route  []string
		caller Caller
		want   refusal
	}{
		{nil, cart, ""}, {nil, Caller{}, ""}, {nil, other, forbidden},
		{[]string{"*"}, cart, ""}, {[]string{"*"}, Caller{}, forbidden}, {[]string{"*"}, other, forbidden},
		{[]string{"external"}, cart, forbidden}, {[]string{"external"}, Caller{}, ""},
	} {
		if got := choose(tt.route, tt.caller); got != tt.want {
			t.Errorf("route allows %q, caller %+v: %q, want %q", tt.route, tt.caller, got, tt.want)
		}
	}
}

// waitFor waits until a condition that another goroutine brings about holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for", what)
		}
		<-tick.C
	}
}

func TestContentTypeIsNotGuessed(t *testing.T) {
	for _, proto := range []Protocol{HTTP1, H2C} {
		_, addr := serveApp(t, Backend{Protocol: proto}, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			if r.URL.Path == "/typed" {
				w.Header().Set("Content-Type", "text/x-mine")
			}
			io.WriteString(w, "<html><body>hello</body></html>")
		})
		if res, _ := ask(t, "GET", addr, "h.localhost", "/"); res.Header["Content-Type"] != nil {
			t.Errorf("an answer without a type got %q", res.Header["Content-Type"])
		}
		if res, _ := ask(t, "GET", addr, "h.localhost", "/typed"); res.Header.Get("Content-Type") != "text/x-mine" {
			t.Errorf("the type became %q", res.Header["Content-Type"])
		}
	}
}
