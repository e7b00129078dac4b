package sandbox

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestPolicy(t *testing.T) {
	notOwn := func(netip.Addr) bool { return false }
	for _, c := range []struct {
		egress Egress
		host   string
		addr   string
		want   bool
	}{
		{Egress{}, "a.example", "93.184.216.34", true},
		{Egress{}, "", "93.184.216.34", true},
		{Egress{}, "a.example", "127.0.0.1", false},
		{Egress{}, "", "169.254.169.254", false},
		{Egress{}, "", "::1", false},
		{Egress{}, "", "::ffff:127.0.0.1", false},
		{Egress{}, "", "fd00:ec2::254", false},
		{Egress{}, "", "0.0.0.0", false},
		{Egress{Allow: []string{"169.254.169.254"}}, "", "169.254.169.254", true},
		{Egress{Allow: []string{"127.0.0.0/8"}, Deny: []string{"127.0.0.2"}}, "", "127.0.0.2", false},
		{Egress{Deny: []string{"*.example"}}, "a.b.example", "93.184.216.34", false},
		{Egress{Deny: []string{"*.example"}}, "example", "93.184.216.34", true},
		{Egress{DefaultDeny: true}, "a.example", "93.184.216.34", false},
		{Egress{DefaultDeny: true, Allow: []string{"A.Example."}}, "a.example", "93.184.216.34", true},
		{Egress{DefaultDeny: true, Allow: []string{"a.example"}}, "a.example", "127.0.0.1", false},
		{Egress{DefaultDeny: true, Allow: []string{"93.184.0.0/16"}}, "", "93.184.216.34", true},
		{Egress{DefaultDeny: true, Allow: []string{"93.184.0.0/16"}}, "", "93.185.216.34", false},
	} {
		p, err := newPolicy(c.egress)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.destination(c.host, netip.MustParseAddr(c.addr), notOwn); got != c.want {
			t.Errorf("%+v: %s %s: %v, want %v", c.egress, c.host, c.addr, got, c.want)
		}
	}
	if _, err := newPolicy(Egress{Allow: []string{"not a host"}}); err == nil {
		t.Error("a bad entry is accepted")
	}
}

func FuzzRules(f *testing.F) {
	for _, s := range []string{"example.com", "*.example.com", "10.0.0.0/8", "::1", "*", "", "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := newRules([]string{s})
		if err == nil && len(r.hosts)+len(r.suffixes)+len(r.ranges) != 1 {
			t.Errorf("%q makes no rule", s)
		}
	})
}

func TestNamesLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	n, err := openNames(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.address("a.example")
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.address("b.example")
	if err != nil || a == b {
		t.Fatalf("two names have %s, %v", b, err)
	}
	n.close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("torn\x00line")
	f.Close()
	if n, err = openNames(path); err != nil {
		t.Fatal(err)
	}
	defer n.close()
	if again, err := n.address("b.example"); err != nil || again != b {
		t.Errorf("b.example was %s and is %s, %v", b, again, err)
	}
	if got := n.name(a); got != "a.example" {
		t.Errorf("%s stands for %q", a, got)
	}
}

func TestNamesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	var all []string
	for i := range 2*nameCount + 5 {
		all = append(all, fmt.Sprintf("h%d.example", i))
	}
	if err := writeNames(path, all); err != nil {
		t.Fatal(err)
	}
	n, err := openNames(path)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	last, err := n.address(all[len(all)-1])
	if err != nil || last != netip.AddrFrom4([4]byte{198, 18, 0, 5}) {
		t.Errorf("the last name has %s, %v", last, err)
	}
	if kept, _, err := readNames(path); err != nil || len(kept) != nameCount+5 {
		t.Errorf("%d names are kept, %v", len(kept), err)
	}
	if len(n.byName) != len(n.byAddr) {
		t.Errorf("%d names, %d addresses", len(n.byName), len(n.byAddr))
	}
}
