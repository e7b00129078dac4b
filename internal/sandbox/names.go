package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
)

// names gives every host name a made-up address, the same for all instances and after a restart: apps may remember addresses.
// The addresses are 198.18.0.0/15, which nobody may use on a network (RFC 2544). When all are given the oldest is reused.
type names struct {
	mu     sync.Mutex
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
	next   uint32
	file   *os.File
}

const (
	firstName = 198<<24 | 18<<16
	nameCount = 1 << 17
)

// openNames reads the names given before. A torn last line is forgotten.
func openNames(path string) (*names, error) {
	n := &names{byName: map[string]netip.Addr{}, byAddr: map[netip.Addr]string{}}
	given, lines, err := readNames(path)
	if err != nil {
		return nil, fmt.Errorf("reading the names given to instances: %w", err)
	}
	if extra := (len(given) - nameCount) / nameCount * nameCount; extra > 0 || lines != len(given) {
		// Whole rounds of addresses are dropped, so that the others keep theirs.
		given = given[max(extra, 0):]
		if err := writeNames(path, given); err != nil {
			return nil, fmt.Errorf("shortening the names given to instances: %w", err)
		}
	}
	for _, name := range given {
		n.put(name)
	}
	if n.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("opening the names given to instances: %w", err)
	}
	return n, nil
}

// readNames also gives how many lines there were, good or not.
func readNames(path string) (given []string, lines int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); ; lines++ {
		if !scan.Scan() {
			return given, lines, scan.Err()
		}
		if name := scan.Text(); validHost(name) {
			given = append(given, name)
		}
	}
}

func writeNames(path string, given []string) error {
	data := strings.Join(given, "\n")
	if len(given) > 0 {
		data += "\n"
	}
	if err := os.WriteFile(path+".new", []byte(data), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (n *names) put(name string) netip.Addr {
	v := firstName + (n.next+1)%nameCount // not the network's own address
	n.next++
	a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	if old, taken := n.byAddr[a]; taken {
		delete(n.byName, old)
	}
	n.byName[name], n.byAddr[a] = a, name
	return a
}

// address gives the address of a name.
func (n *names) address(name string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.byName[name]; ok {
		return a, nil
	}
	if _, err := n.file.WriteString(name + "\n"); err != nil {
		return netip.Addr{}, fmt.Errorf("writing down the name %s: %w", name, err)
	}
	return n.put(name), nil
}

// name gives the name of an address; empty if it is not one of ours.
func (n *names) name(a netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byAddr[a]
}

func (n *names) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file.Close()
}

// canonical is a host name as the tables have it.
func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

func addrOf(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}
