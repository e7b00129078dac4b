package daemon

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// TestPublishedPorts: what was held is opened where it is still published, and closed where it is not.
func TestPublishedPorts(t *testing.T) {
	p := newPublishedPorts()
	before := map[sandbox.Socket]net.Listener{}
	var addresses []string
	for _, name := range []string{publishedName, publishedName, "gateway"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
		before[sandbox.Socket{Name: name, Address: l.Addr().String()}] = l
	}
	kept, dropped := addresses[0], addresses[1]
	p.inherit(before)
	if len(before) != 1 {
		t.Errorf("%d sockets are left for the components, want 1", len(before))
	}
	if err := dialed(kept, dropped); err != nil {
		t.Errorf("held ports: %v", err)
	}

	p.Retain([]string{kept})
	if err := dialed(dropped); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that is not published any more: %v", err)
	}
	l, err := p.Listen(context.Background(), kept)
	if err != nil {
		t.Fatalf("the port that was held cannot be opened: %v", err)
	}
	l.Close()
	select {
	case <-p.changed:
	default:
		t.Error("nobody was told that other ports are to be held")
	}

	own := map[sandbox.Socket]*net.TCPListener{{Name: "gateway", Address: "x"}: nil}
	want := []sandbox.Socket{{Name: "gateway", Address: "x"}, {Name: publishedName, Address: kept}}
	got := slices.SortedFunc(maps.Keys(p.lasting(own)), func(a, b sandbox.Socket) int { return len(a.Address) - len(b.Address) })
	if !slices.Equal(got, want) {
		t.Errorf("to be held: %v, want %v", got, want)
	}
	p.Retain(nil)
	if n := len(p.lasting(own)); n != 1 {
		t.Errorf("%d sockets are held when nothing is published, want 1", n)
	}
}

func dialed(addresses ...string) error {
	for _, address := range addresses {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		c.Close()
	}
	return nil
}
