package netns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestListening(t *testing.T) {
	s := newSockets(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := NewDialer()
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()

	var want []netip.AddrPort
	for _, address := range []string{"0.0.0.0:81", "127.0.0.1:80", "[::1]:82"} {
		var l net.Listener
		var err error
		network := "tcp4"
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		inside(t, s, func() { l, err = net.Listen(network, address) })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want = append(want, netip.MustParseAddrPort(address))
	}
	conn, err := d.Dial(ctx, s.Namespace, 80) // a connection is no listener
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := d.Listening(ctx, s.Namespace)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("listening on %v, %v; want %v", got, err, want)
	}
}

func FuzzParseListening(f *testing.F) {
	const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	f.Add(header + "   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n")
	f.Add(header + "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n")
	f.Add(header + "   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n")
	f.Add(header + "   0: 0100007F:1F90\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseListening(strings.NewReader(text))
		if err != nil && all != nil {
			t.Errorf("addresses %v beside the error %v", all, err)
		}
		for _, a := range all {
			if !a.Addr().IsValid() {
				t.Errorf("no address in %v", a)
			}
		}
	})
}
