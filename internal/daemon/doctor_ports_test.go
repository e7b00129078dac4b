package daemon

import (
	"net"
	"os"
	"slices"
	"testing"
)

func TestListeningSockets(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // no IPv6
			continue
		}
		defer l.Close()
		all := listeningSockets()
		own := socketsOf(os.Getpid(), all)
		if !slices.ContainsFunc(own, func(s listeningSocket) bool { return s.address.String() == l.Addr().String() }) {
			t.Errorf("%v is not among this process's own sockets: %v", l.Addr(), own)
		}
		if !ownAddress(l.Addr().String(), own, all) {
			t.Errorf("%v is not known as own", l.Addr())
		}
		if ownAddress(l.Addr().String(), nil, all) {
			t.Errorf("%v is taken for own by somebody who has no sockets", l.Addr())
		}
	}
	if ownAddress("127.0.0.1:1", nil, nil) {
		t.Error("an address where nobody listens is taken for own")
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2693 1 0000000000000000 100 0 0 10 0")
	f.Add("   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 77 1")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseSocket(line); ok && (!s.address.IsValid() || s.file == "") {
			t.Errorf("%q is read as %+v", line, s)
		}
	})
}
