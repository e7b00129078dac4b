package gateway

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// dying is an instance that closes each connection when a request has come on it, which it reads or does not.
func dying(t *testing.T, reads bool, asked *atomic.Int32) Instance {
	return rawApp(t, "dying", func(conn net.Conn) {
		waitFor(t, "a request", func() bool { return !quiet(conn) })
		asked.Add(1)
		if reads {
			_, _ = conn.Read(make([]byte, 1<<16))
		}
	})
}

// TestUnreadRequestGoesElsewhere: what a program has not read when it dies is given to another one, if it may be sent twice; what it
// has read is not, for it may have died of it.
func TestUnreadRequestGoesElsewhere(t *testing.T) {
	for _, c := range []struct {
		method, body string
		reads        bool
		want         int
	}{
		{"GET", "", false, 200},
		{"DELETE", "", false, 200},
		{"GET", "", true, 502},
		{"POST", "", false, 502},
		{"PUT", "body", false, 502},
	} {
		name := c.method + c.body
		if c.reads {
			name += ", read"
		}
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			g, addr := serveApp(t, Backend{}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") })
			sound := app(t, "sound", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") })
			g.SetInstances("b", []Instance{dying(t, c.reads, &asked), sound})
			saw := 0
			for range 2 { // equals take turns: one of the two gets the first
				res, _ := ask(t, c.method, addr, "h.localhost", "/", func(r *http.Request) {
					if c.body != "" {
						r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
					}
				})
				if asked.Load() > 0 && saw == 0 {
					saw = res.StatusCode
				} else if res.StatusCode != 200 {
					t.Errorf("the sound one answers %d", res.StatusCode)
				}
			}
			if saw != c.want {
				t.Errorf("got %d, want %d", saw, c.want)
			}
		})
	}
}
