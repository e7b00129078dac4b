package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// churn is a gateway that is changed all the time, in ways that no request may notice.
type churn struct {
	t        *testing.T
	addr     string
	g        *Gateway
	stop     func()
	revision int
	serial   int
	live     map[string]*httptest.Server // instances of the current revision, by ID
}

// TestChurn changes everything that can change while requests come on 1, 16 and 128 connections, FAIRLEAD_CHURN of them each, and loses none.
func TestChurn(t *testing.T) {
	total := 2000
	if v := os.Getenv("FAIRLEAD_CHURN"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	for _, connections := range []int{1, 16, 128} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) { churnUnder(t, total, connections) })
	}
}

func churnUnder(t *testing.T, total, connections int) {
	c := &churn{t: t, live: map[string]*httptest.Server{}}
	c.launch(nil)
	c.deploy()

	var left atomic.Int64
	left.Store(int64(total))
	var lost, served atomic.Int64
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			tr := &http.Transport{MaxConnsPerHost: 1} // opens no connection that it does not use at once
			defer tr.CloseIdleConnections()
			for left.Add(-1) >= 0 {
				if err := c.request(tr); err != nil {
					lost.Add(1)
					t.Error(err)
				}
				served.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	changes := 0
	for step := 0; ; step++ {
		select {
		case <-done:
		case <-time.After(20 * time.Millisecond):
			c.change(step)
			changes++
			continue
		}
		break
	}
	c.stop()
	for _, srv := range c.live {
		srv.Close()
	}
	t.Logf("%d requests through %d changes, %d lost", served.Load(), changes, lost.Load())
}

func (c *churn) request(tr *http.Transport) error {
	r, err := http.NewRequest("POST", "http://"+c.addr+"/", strings.NewReader("body"))
	if err != nil {
		return err
	}
	r.GetBody = nil // no second chance
	r.Host = "h.localhost"
	res, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if res.StatusCode != 200 || string(data) != "body" {
		return fmt.Errorf("got %d %q", res.StatusCode, data)
	}
	return nil
}

// launch starts a gateway, on the listeners of the one before if there was one.
func (c *churn) launch(inherited []net.Listener) {
	cfg := Config{HTTPListeners: inherited, DrainTimeout: 10 * time.Second, PassOn: func(conn net.Conn) bool {
		c.g.ServeConn(conn) // by the successor
		return true
	}}
	if inherited == nil {
		cfg.HTTP = []string{"127.0.0.1:0"}
	}
	g, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c.g = g
	if c.revision > 0 {
		c.apply(map[string]int{c.name(): 100})
		c.scale()
	}
	go func() { done <- g.Run(ctx, nil) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error("Run:", err)
		}
	}
	if inherited == nil {
		plain, _ := g.Addrs()
		c.addr = plain[0].String()
	}
}

func (c *churn) name() string { return fmt.Sprintf("default/h-%05d", c.revision) }

func (c *churn) apply(weights map[string]int) {
	table := Table{Routes: []Route{{Name: "default/h", Hosts: []string{"h.localhost"}, Rules: []Rule{{}}}}}
	for name, weight := range weights {
		table.Backends = append(table.Backends, Backend{Name: name, Concurrency: 8, Timeout: 30 * time.Second})
		table.Routes[0].Rules[0].Splits = append(table.Routes[0].Rules[0].Splits, Split{Backend: name, Weight: weight})
	}
	if err := c.g.Apply(table); err != nil {
		c.t.Error(err)
	}
}

func (c *churn) launchInstance() {
	c.serial++
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	c.live[fmt.Sprint("i", c.serial)] = srv
}

func (c *churn) scale() {
	var list []Instance
	for id, srv := range c.live {
		list = append(list, Instance{ID: id, Dial: dialTo(srv.Listener.Addr().String())})
	}
	c.g.SetInstances(c.name(), list)
}

// retire takes instances out, lets them finish, and only then ends them.
func (c *churn) retire(backend string, list map[string]*httptest.Server) {
	for id, srv := range list {
		if err := c.g.Drain(context.Background(), backend, id); err != nil {
			c.t.Error(err)
		}
		srv.Close()
	}
}

// deploy brings a new revision and moves the traffic to it.
func (c *churn) deploy() {
	old, before := c.name(), c.live
	c.revision++
	c.live = map[string]*httptest.Server{}
	c.launchInstance()
	c.scale()
	if c.revision > 1 {
		c.apply(map[string]int{old: 50, c.name(): 50})
	}
	c.apply(map[string]int{c.name(): 100})
	c.retire(old, before)
}

func (c *churn) change(step int) {
	switch step % 5 {
	case 0:
		c.deploy()
	case 1: // 1 to 10
		for len(c.live) < 10 {
			c.launchInstance()
		}
		c.scale()
	case 2: // an instance is deleted and replaced
		for id, srv := range c.live {
			delete(c.live, id)
			c.launchInstance()
			c.scale()
			c.retire(c.name(), map[string]*httptest.Server{id: srv})
			break
		}
	case 3: // 10 to 1
		gone := map[string]*httptest.Server{}
		for id, srv := range c.live {
			if len(c.live) > 1 {
				gone[id] = srv
				delete(c.live, id)
			}
		}
		c.scale()
		c.retire(c.name(), gone)
	case 4: // the gateway itself is replaced
		c.handOver()
	}
}

// handOver starts a successor on the same sockets and ends the old gateway.
func (c *churn) handOver() {
	files, _, err := c.g.Files()
	if err != nil {
		c.t.Fatal(err)
	}
	var listeners []net.Listener
	for _, f := range files {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	stop := c.stop
	c.launch(listeners)
	stop()
}
