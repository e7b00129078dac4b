package daemon

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// TestConnectionsWithin holds that connections, each with another to an instance, leave files to everything else.
func TestConnectionsWithin(t *testing.T) {
	for files, want := range map[uint64]int{256: 64, 1024: 256, 4096: 1024, 20_000: 7952, 65_536: gateway.DefaultMaxConnections, 1 << 20: gateway.DefaultMaxConnections, 1 << 63: gateway.DefaultMaxConnections} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

// TestBounded holds that a connection too many waits until another ends, and is served then.
func TestBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fileLimit()
	if err != nil {
		t.Fatal(err)
	}
	most := int(min(files/16, connectionsFew))
	server := newWebServer("test", bounded(inner), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { _ = server.run(ctx, func() {}) })
	defer cancel()
	idle := make([]net.Conn, 0, most)
	for range most {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	answered := make(chan error, 1)
	go func() {
		response, err := http.Get("http://" + inner.Addr().String())
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("one more than %d connections is answered: %v", most, err)
	case <-time.After(100 * time.Millisecond):
	}
	idle[0].Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestMaxConnections(t *testing.T) {
	s := NewSettings()
	for _, step := range []struct {
		set     int
		files   uint64
		want    int
		verdict string
	}{
		{0, 20_000, 7952, VerdictOK},
		{0, 1024, 256, VerdictWarning},
		{5000, 20_000, 5000, VerdictOK},
		{9000, 20_000, 0, VerdictProblem},
		{20_000, 65_536, 20_000, VerdictOK}, // more than is taken by default
	} {
		s.MaxConnections = step.set
		got, err := s.maxConnections(step.files)
		if got != step.want || (err != nil) != (step.verdict == VerdictProblem) {
			t.Errorf("%+v: %d connections, %v", step, got, err)
		}
		if f := judgeFiles(s, step.files); f.Verdict != step.verdict || f.Verdict != VerdictOK && f.Try == "" {
			t.Errorf("%+v: %+v", step, f)
		}
	}
	s.MaxConnections = -1
	if err := s.validate(); err == nil || !strings.Contains(err.Error(), "max-connections") {
		t.Errorf("-1 connections: %v", err)
	}
}
