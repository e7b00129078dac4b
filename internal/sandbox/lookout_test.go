package sandbox

import (
	"net/netip"
	"testing"
	"time"
)

func addresses(all ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range all {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

func TestElsewhere(t *testing.T) {
	for _, test := range []struct {
		listening []netip.AddrPort
		want      string
	}{
		{nil, ""},
		{addresses("0.0.0.0:8080"), ""},
		{addresses("[::]:8080"), ""},
		{addresses("127.0.0.1:8080", "0.0.0.0:3000"), ""},
		{addresses("[::1]:8080"), ""},
		{addresses("[::]:3000"), "nothing listens on port 8080; the program listens on port 3000"},
		{addresses("0.0.0.0:3000", "[::]:3000", "127.0.0.1:9229"), "nothing listens on port 8080; the program listens on ports 3000 and 9229"},
		{addresses("[::]:1", "[::]:2", "[::]:3", "[::]:4", "[::]:5", "[::]:6"), "nothing listens on port 8080; the program listens on ports 1, 2, 3, 4, 5 and others"},
		{addresses("10.88.0.2:8080"), "port 8080 is listened on only at 10.88.0.2, where no request arrives: it has to be 0.0.0.0 or 127.0.0.1"},
	} {
		got := ""
		if e := elsewhere(8080, test.listening); e != nil {
			got = e.String()
		}
		if got != test.want {
			t.Errorf("%v: %q, want %q", test.listening, got, test.want)
		}
	}
}

// TestLookout follows a program that takes its time, listens elsewhere first and then where it should.
func TestLookout(t *testing.T) {
	began := time.Unix(1000, 0)
	if newLookout(&Probe{Exec: []string{"true"}}, began).due(began.Add(time.Hour)) {
		t.Error("a probe without a port has something to look for")
	}
	o := newLookout(&Probe{TCP: &TCPProbe{Port: 8080}}, began)
	at := func(after time.Duration) bool { return o.due(began.Add(after)) }
	if at(lookAfter-1) || !at(lookAfter) || at(lookAfter+time.Millisecond) || !at(2*lookAfter) {
		t.Error("it does not look after two seconds and again after two more")
	}
	if !at(time.Hour) || at(time.Hour+lookMax-1) || !at(time.Hour+lookMax) {
		t.Error("it does not look every half minute in the end")
	}
	for n, step := range []struct {
		listening []netip.AddrPort
		news      bool
	}{
		{nil, false},
		{addresses("[::]:3000"), true},
		{addresses("[::]:3000"), false},
		{addresses("[::]:3000", "[::]:9229"), true},
		{addresses("[::]:3000", "[::]:8080"), true},
		{addresses("[::]:8080"), false},
	} {
		if news := o.learn(step.listening); news != step.news {
			t.Errorf("step %d: news %v", n, news)
		}
	}
}
