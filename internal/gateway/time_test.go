package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// piped is an app whose connections are pipes, so that it can live in a bubble.
func piped(t *testing.T, id string, h http.HandlerFunc) Instance {
	t.Helper()
	l := newHandover()
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return Instance{ID: id, Dial: func(context.Context) (net.Conn, error) {
		mine, theirs := net.Pipe()
		l.give(theirs)
		return mine, nil
	}}
}

// bubble is a gateway with the one host "h" and the backend "b", without sockets.
func bubble(t *testing.T, cfg Config, b Backend, list ...Instance) (*Gateway, *http.Client) {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Name = "b"
	if err := g.Apply(simple("h", b)); err != nil {
		t.Fatal(err)
	}
	g.SetInstances("b", list)
	t.Cleanup(func() { g.SetInstances("b", nil) })
	return g, &http.Client{Transport: g.RoundTripper(Caller{})}
}

// timed sends a GET and gives the status, the body, and how long it took.
func timed(t *testing.T, c *http.Client, change ...func(*http.Request)) (status int, body string, took time.Duration, h http.Header) {
	t.Helper()
	r := &http.Request{Method: "GET", Host: "h", URL: &url.URL{Scheme: "http", Host: "h", Path: "/"}, Header: http.Header{}}
	for _, f := range change {
		f(r)
	}
	begun := time.Now()
	res, err := c.Do(r)
	if err != nil {
		return 0, err.Error(), time.Since(begun), nil
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, string(data) + " then " + err.Error(), time.Since(begun), res.Header
	}
	return res.StatusCode, string(data), time.Since(begun), res.Header
}

// sleepy answers after the first delay, and goes on after the second.
func sleepy(first, second time.Duration) http.HandlerFunc {
	wait := func(r *http.Request, d time.Duration) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	return func(w http.ResponseWriter, r *http.Request) {
		wait(r, first)
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		wait(r, second)
		io.WriteString(w, " second")
	}
}

func TestTimeoutsInTime(t *testing.T) {
	tests := []struct {
		name          string
		backend       Backend
		first, second time.Duration
		status        int
		body          string
		took          time.Duration
	}{
		{"within all", Backend{Timeout: 10 * time.Second, ResponseStartTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second}, 5 * time.Second, 5 * time.Second, 200, "first second", 10 * time.Second},
		{"first byte too late", Backend{Timeout: 10 * time.Second}, 15 * time.Second, 0, 504, "fairlead: request timeout\n", 10 * time.Second},
		{"first byte early, rest later", Backend{Timeout: 10 * time.Second}, 0, 15 * time.Second, 200, "first second", 15 * time.Second},
		{"answer begins too late", Backend{Timeout: 60 * time.Second, ResponseStartTimeout: 10 * time.Second}, 15 * time.Second, 0, 504, "fairlead: request timeout\n", 10 * time.Second},
		{"idle before the first byte", Backend{Timeout: 60 * time.Second, IdleTimeout: 10 * time.Second}, 15 * time.Second, 0, 504, "fairlead: request timeout\n", 10 * time.Second},
		{"idle in the middle", Backend{Timeout: 60 * time.Second, IdleTimeout: 10 * time.Second}, 5 * time.Second, 15 * time.Second, 200, "first then unexpected EOF", 15 * time.Second},
		{"no limit", Backend{}, time.Hour, time.Hour, 200, "first second", 2 * time.Hour},
	}
	for _, proto := range []Protocol{HTTP1, H2C} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/%d", tt.name, proto), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.backend.Protocol = proto
					g, c := bubble(t, Config{}, tt.backend, piped(t, "a", sleepy(tt.first, tt.second)))
					status, body, took, _ := timed(t, c)
					if status != tt.status || body != tt.body || took != tt.took {
						t.Errorf("got %d %q after %v, want %d %q after %v", status, body, took, tt.status, tt.body, tt.took)
					}
					synctest.Wait()
					if s := g.Stats("b"); s.InFlight != 0 || s.Instances[0].InFlight != 0 {
						t.Errorf("slots are left taken: %+v", s)
					}
				})
			})
		}
	}
}

func TestWaitCountsAgainstTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := bubble(t, Config{}, Backend{Timeout: 10 * time.Second})
		status, _, took, _ := timed(t, c)
		if status != 504 || took != 10*time.Second {
			t.Errorf("got %d after %v, want 504 after 10 s", status, took)
		}
		if s := g.Stats("b"); s.Waiting != 0 {
			t.Errorf("still in the room: %+v", s)
		}
	})
}

func TestClientGoneLeavesTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := bubble(t, Config{}, Backend{Timeout: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", "http://h/", nil)
			_, err := c.Do(r)
			done <- err
		}()
		synctest.Wait()
		if s := g.Stats("b"); s.Waiting != 1 {
			t.Fatalf("%+v, want one waiting", s)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		if s := g.Stats("b"); s.Waiting != 0 || g.Sample("b").InFlight != 0 {
			t.Errorf("%+v, want nobody", s)
		}
	})
}

func TestConcurrencyIsHardAndTheRoomInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		var mu sync.Mutex
		var order []string
		g, c := bubble(t, Config{}, Backend{Concurrency: 1, Timeout: time.Minute}, piped(t, "a", func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			mu.Lock()
			order = append(order, r.Header.Get("N"))
			mu.Unlock()
			now.Add(-1)
		}))
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				if status, body, _, _ := timed(t, c, func(r *http.Request) { r.Header.Set("N", fmt.Sprint(n)) }); status != 200 {
					t.Errorf("request %d: %d %s", n, status, body)
				}
			})
			synctest.Wait() // one after the other
		}
		if s := g.Stats("b"); s.InFlight != 1 || s.Waiting != 19 {
			t.Errorf("%+v, want 1 at work and 19 waiting", s)
		}
		all.Wait()
		if most.Load() != 1 {
			t.Errorf("the instance saw %d at once", most.Load())
		}
		for n, got := range order {
			if got != fmt.Sprint(n) {
				t.Fatalf("order %v", order)
			}
		}
	})
}

func TestFullRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := bubble(t, Config{}, Backend{QueueLimit: 2, Timeout: time.Minute})
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if status, _, _, _ := timed(t, c); status != 200 {
					t.Errorf("a waiting request got %d", status)
				}
			})
		}
		synctest.Wait()
		status, _, took, h := timed(t, c)
		if status != 503 || took != 0 || h.Get("Retry-After") == "" {
			t.Errorf("got %d after %v with %v, want 503 with Retry-After at once", status, took, h)
		}
		g.SetInstances("b", []Instance{piped(t, "a", sleepy(0, 0))})
		all.Wait()
	})
}

func TestWakingPage(t *testing.T) {
	browser := func(r *http.Request) { r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9") }
	for _, off := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var g *Gateway
			wake := func(string) {
				time.AfterFunc(3*time.Second, func() { g.SetInstances("b", []Instance{piped(t, "a", sleepy(0, 0))}) })
			}
			g, c := bubble(t, Config{Wake: wake}, Backend{Timeout: time.Minute, NoWakingPage: off})
			var all sync.WaitGroup
			all.Go(func() {
				if status, body, took, _ := timed(t, c); status != 200 || took != 3*time.Second {
					t.Errorf("curl got %d %q after %v, want to wait for the answer", status, body, took)
				}
			})
			status, body, took, h := timed(t, c, browser)
			if off {
				if status != 200 {
					t.Errorf("with the page turned off a browser got %d", status)
				}
			} else if status != 503 || took != time.Second || !strings.Contains(body, "Waking up") || h.Get("Cache-Control") != "no-store" {
				t.Errorf("a browser got %d after %v: %q", status, took, body)
			}
			all.Wait()
			if status, body, _, _ := timed(t, c, browser); status != 200 || body != "first second" {
				t.Errorf("awake, a browser got %d %q", status, body)
			}
		})
	}
}

func TestUnreachableInstanceIsRetriedAndAvoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials int
		dead := Instance{ID: "dead", Dial: func(context.Context) (net.Conn, error) {
			dials++
			return nil, errors.New("connection refused")
		}}
		_, c := bubble(t, Config{}, Backend{Timeout: time.Minute}, dead, piped(t, "alive", sleepy(0, 0)))
		for range 100 {
			if status, body, _, _ := timed(t, c); status != 200 {
				t.Fatalf("got %d %s", status, body)
			}
		}
		if dials == 0 || dials > 3 {
			t.Errorf("the dead instance was dialled %d times for 100 requests at once, want 1 to 3", dials)
		}
	})
}

// TestEachInstanceHasItsOwnTimeToBegin holds that the time in which an instance could not be reached is not the next one's.
func TestEachInstanceHasItsOwnTimeToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		in := piped(t, "a", sleepy(4*time.Second, 0))
		dial := in.Dial
		in.Dial = func(ctx context.Context) (net.Conn, error) {
			if time.Since(begun) < 3*time.Second {
				return nil, errors.New("connection refused")
			}
			return dial(ctx)
		}
		_, c := bubble(t, Config{}, Backend{Timeout: time.Minute, ResponseStartTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second}, in)
		if status, body, took, _ := timed(t, c); status != 200 {
			t.Errorf("got %d %q after %v, want the answer after about 7 s", status, body, took)
		}
	})
}

func TestOnlyInstanceComesUpLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		in := piped(t, "a", sleepy(0, 0))
		dial := in.Dial
		in.Dial = func(ctx context.Context) (net.Conn, error) {
			if time.Since(begun) < 2*time.Second {
				return nil, errors.New("connection refused")
			}
			return dial(ctx)
		}
		_, c := bubble(t, Config{}, Backend{Timeout: time.Minute}, in)
		r, _ := http.NewRequest("POST", "http://h/", strings.NewReader("body"))
		res, err := c.Do(r)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v, %v", res, err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestDeadInstanceIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := Instance{ID: "dead", Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") }}
		g, c := bubble(t, Config{}, Backend{Timeout: time.Minute}, dead)
		status, body, took, _ := timed(t, c)
		if status != 502 || took < 5*time.Second || took > 15*time.Second {
			t.Errorf("got %d %q after %v, want 502 after about 10 s", status, body, took)
		}
		if s := g.Stats("b"); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestBrokenAnswerIsRetriedOnlyIfHarmless breaks the answers on a connection that has been used before, as one would be that the app
// closes for having been idle: a request that may be repeated is tried once more, on a new connection.
func TestBrokenAnswerIsRetriedOnlyIfHarmless(t *testing.T) {
	for method, want := range map[string]int{"GET": 2, "HEAD": 2, "POST": 1, "PATCH": 1} {
		synctest.Test(t, func(t *testing.T) {
			var tries int
			_, c := bubble(t, Config{}, Backend{}, piped(t, "a", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Break") != "" {
					tries++
					panic(http.ErrAbortHandler)
				}
			}))
			timed(t, c)
			status, _, _, _ := timed(t, c, func(r *http.Request) { r.Method = method; r.Header.Set("Break", "1") })
			if status != 502 || tries != want {
				t.Errorf("%s: %d after %d tries, want 502 after %d", method, status, tries, want)
			}
		})
	}
}

// TestRequestThatKillsIsNotPassedOn holds that a request in whose course an instance died is not given to another one.
func TestRequestThatKillsIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaths := 0
		mortal := func(id string) Instance {
			dead := false
			in := piped(t, id, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Kill") != "" {
					deaths++
					dead = true
					panic(http.ErrAbortHandler)
				}
			})
			dial := in.Dial
			in.Dial = func(ctx context.Context) (net.Conn, error) {
				if dead {
					return nil, errors.New("connection refused")
				}
				return dial(ctx)
			}
			return in
		}
		_, c := bubble(t, Config{}, Backend{Timeout: time.Minute}, mortal("a"), mortal("b"))
		for range 4 { // connections that are kept
			timed(t, c)
		}
		status, _, took, _ := timed(t, c, func(r *http.Request) { r.Header.Set("Kill", "1") })
		if status != 502 || deaths != 1 || took > time.Second {
			t.Errorf("got %d after %v and %d deaths, want 502 at once and one death", status, took, deaths)
		}
		for range 4 {
			if status, body, _, _ := timed(t, c); status != 200 {
				t.Errorf("a request after it got %d %q", status, body)
			}
		}
	})
}

// TestEmptyAnswerInProcess holds that an answer without a body is not lost when its handler, and with it the request's context, ends before
// anybody waits for it.
func TestEmptyAnswerInProcess(t *testing.T) {
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequest("GET", "http://h/", nil)
		w := newMemoryWriter(cancel)
		w.run(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), r)
		res, err := w.wait(ctx, r)
		if err != nil || res == nil || res.StatusCode != http.StatusNoContent {
			t.Fatalf("got %v and %v, want 204", res, err)
		}
		res.Body.Close()
	}
}

func TestDrainWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := bubble(t, Config{}, Backend{}, piped(t, "old", sleepy(5*time.Second, 5*time.Second)))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if status, body, _, _ := timed(t, c); status != 200 || body != "first second" {
				t.Errorf("a request in flight got %d %q", status, body)
			}
		}()
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Drain(ctx, "b", "old"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drained after %v with %v", time.Since(begun), err)
		}
		g.SetInstances("b", []Instance{piped(t, "new", sleepy(0, 0))})
		if status, _, took, _ := timed(t, c); status != 200 || took != 0 {
			t.Errorf("a new request got %d after %v, want the new instance", status, took)
		}
		if err := g.Drain(t.Context(), "b", "old"); err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("drained after %v, %v", time.Since(begun), err)
		}
		<-done
		if err := g.Drain(t.Context(), "b", "nobody"); err != nil {
			t.Error(err)
		}
	})
}

func TestWakeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *Gateway
		var told []WakeTrace
		cfg := Config{OnWake: func(w WakeTrace) { told = append(told, w) }}
		cfg.Wake = func(string) {
			time.AfterFunc(time.Millisecond, func() {
				woken := time.Now()
				time.Sleep(4 * time.Millisecond)
				started := time.Now()
				time.Sleep(10 * time.Millisecond)
				in := piped(t, "a", sleepy(20*time.Millisecond, 0))
				in.Wake = &WakeTrace{Spare: true, Woken: woken, Started: started, Ready: time.Now()}
				g.SetInstances("b", []Instance{in})
			})
		}
		g, c := bubble(t, cfg, Backend{ServerTiming: true})
		_, _, took, h := timed(t, c)
		if want := "queue;dur=15, wake;dur=1, start;dur=4, ready;dur=10, app;dur=20"; h.Get("Server-Timing") != want || took != 35*time.Millisecond {
			t.Errorf("after %v: %q, want %q", took, h.Get("Server-Timing"), want)
		}
		if len(told) != 1 || !told[0].Spare || told[0].Instance != "a" || told[0].FirstByte.Sub(told[0].Asked) != 35*time.Millisecond {
			t.Errorf("told %+v", told)
		}
		if _, _, _, h := timed(t, c); h.Get("Server-Timing") != "" {
			t.Error("a warm request tells of a cold start")
		}
	})
}

func TestSampleIsTheAverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := bubble(t, Config{}, Backend{}, piped(t, "a", sleepy(500*time.Millisecond, 0)))
		g.Sample("b")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { timed(t, c) })
		}
		time.Sleep(time.Second)
		all.Wait()
		s := g.Sample("b")
		if s.Concurrency < 1.99 || s.Concurrency > 2.01 || s.Requests != 4 || s.Period != time.Second {
			t.Errorf("%+v, want 4 requests and 2 at once on average", s)
		}
		time.Sleep(time.Second)
		if s := g.Sample("b"); s.Concurrency != 0 || s.Requests != 0 {
			t.Errorf("idle: %+v", s)
		}
	})
}

// TestWaitingRequestsFollowTheTraffic holds that a request does not wait for a revision that traffic was taken from.
func TestWaitingRequestsFollowTheTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		g, c := bubble(t, Config{}, Backend{Concurrency: 1, Timeout: time.Minute}, piped(t, "old", func(w http.ResponseWriter, r *http.Request) {
			<-hold
			io.WriteString(w, "old")
		}))
		answers := make(chan string, 4)
		send := func(answers chan<- string) {
			status, body, _, _ := timed(t, c)
			answers <- fmt.Sprint(status, " ", body)
		}
		first := make(chan string, 1)
		go send(first)
		synctest.Wait()
		for range 4 {
			go send(answers)
		}
		synctest.Wait() // one at work, four wait for its slot
		table := simple("h", Backend{Name: "new"})
		table.Backends = append(table.Backends, Backend{Name: "b", Concurrency: 1})
		table.Routes[0].Rules[0].SetHeaders = map[string]string{"X-Rule": "new"}
		if err := g.Apply(table); err != nil {
			t.Fatal(err)
		}
		g.SetInstances("new", []Instance{piped(t, "n", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Rule")) })})
		g.SetInstances("b", nil)
		for range 4 {
			if got := <-answers; got != "200 new" {
				t.Errorf("a waiting request got %q, want the new revision", got)
			}
		}
		close(hold)
		if got := <-first; got != "200 old" {
			t.Errorf("the request in flight got %q", got)
		}

		go send(answers)
		synctest.Wait()
		<-answers
		g.SetInstances("new", nil)
		go send(answers)
		synctest.Wait()
		if err := g.Apply(Table{}); err != nil {
			t.Fatal(err)
		}
		if got := <-answers; !strings.HasPrefix(got, "404") {
			t.Errorf("a request whose service was deleted while it waited got %q", got)
		}
	})
}

// TestAvoidedInstanceComesBack holds that a wait ends when an instance that was avoided is sound again.
func TestAvoidedInstanceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := true
		shaky := piped(t, "shaky", sleepy(0, 0))
		dial := shaky.Dial
		shaky.Dial = func(ctx context.Context) (net.Conn, error) {
			if refuse {
				refuse = false
				return nil, errors.New("connection refused")
			}
			return dial(ctx)
		}
		_, c := bubble(t, Config{}, Backend{Concurrency: 1, Timeout: time.Minute}, shaky, piped(t, "busy", sleepy(30*time.Second, 0)))
		go timed(t, c) // fails on shaky, then keeps busy busy
		synctest.Wait()
		if status, _, took, _ := timed(t, c); status != 200 || took != firstEjection {
			t.Errorf("got %d after %v, want 200 as soon as the instance is tried again, after %v", status, took, firstEjection)
		}
		time.Sleep(time.Minute)
	})
}
