package gateway

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// TestUpgradedConnectionTimeouts holds that a WebSocket ends with Timeout, and with ResponseStartTimeout while nothing was said on it.
func TestUpgradedConnectionTimeouts(t *testing.T) {
	const limit, long = 200 * time.Millisecond, time.Minute
	for _, c := range []struct {
		name   string
		spec   Backend
		speaks bool // the instance sends something at once
		ends   bool // the connection is ended within the limit and a little
	}{
		{"timeout, nothing said", Backend{Timeout: limit}, false, true},
		{"timeout, something said", Backend{Timeout: limit}, true, true},
		{"start, nothing said", Backend{Timeout: long, ResponseStartTimeout: limit}, false, true},
		{"start, something said", Backend{Timeout: long, ResponseStartTimeout: limit}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := piped(t, "a", func(w http.ResponseWriter, r *http.Request) {
					conn, err := websocket.Accept(w, r, nil)
					if err != nil {
						t.Error("accept:", err)
						return
					}
					defer conn.CloseNow()
					if c.speaks {
						err = conn.Write(r.Context(), websocket.MessageText, []byte("first"))
					}
					for err == nil {
						_, _, err = conn.Read(r.Context())
					}
				})
				g, _ := bubble(t, Config{}, c.spec, in)
				ctx, cancel := context.WithTimeout(t.Context(), 20*limit)
				defer cancel()
				conn, _, err := websocket.Dial(ctx, "ws://h", &websocket.DialOptions{HTTPClient: pipedClient(t, g)})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.CloseNow()
				for err == nil {
					_, _, err = conn.Read(ctx)
				}
				if ended := ctx.Err() == nil; ended != c.ends {
					t.Errorf("ended by the gateway: %t, want %t (%v)", ended, c.ends, err)
				}
			})
		})
	}
}

// pipedClient is a client whose connections to a gateway are pipes, so that it can live in a bubble.
func pipedClient(t *testing.T, g *Gateway) *http.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		g.ServeConn(theirs)
		return mine, nil
	}}}
}
