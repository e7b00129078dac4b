// Package netns makes the network namespaces of instances and opens sockets inside them.
//
// A namespace has only the interface lo and the route "local 0.0.0.0/0 dev lo": every IPv4 destination is local to it. What an
// instance sends is turned by nft to listeners on high ports of Gateway, so that all ports stay free for the instance; the
// address it meant is kept by the kernel and read with OriginalDst. There is no route out and no IPv6 but ::1.
//
// Threads that enter a namespace never come back to the machine's own: they belong to a locked goroutine.
package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Ports on Gateway to which nft turns what an instance sends.
const (
	OutboundPort = 65001
	DNSPort      = 65053
	// LogGroup is the nflog group that is told about refused datagrams.
	LogGroup = 65
)

// Gateway is where the listeners of a namespace are, and the name server of the instance.
func Gateway() netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 0, 1}) }

// Self is the instance's own address. Namespaces share nothing, so all instances have the same.
func Self() netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 0, 2}) }

// Sockets is a namespace and the listeners in it. The files are owned by whoever holds the value.
type Sockets struct {
	Namespace *os.File // keeps the namespace alive
	Outbound  *os.File // TCP listener for everything but DNS
	Packet    *os.File // UDP socket for DNS
	Stream    *os.File // TCP listener for DNS
}

// Files gives the files in the order in which FromFiles takes them.
func (s *Sockets) Files() []*os.File {
	return []*os.File{s.Namespace, s.Outbound, s.Packet, s.Stream}
}

// FromFiles is the reverse of Files.
func FromFiles(files []*os.File) (*Sockets, error) {
	if len(files) != 4 {
		return nil, fmt.Errorf("a namespace comes as 4 files, not %d", len(files))
	}
	return &Sockets{Namespace: files[0], Outbound: files[1], Packet: files[2], Stream: files[3]}, nil
}

// Close closes all files; the namespace is gone with its last process.
func (s *Sockets) Close() {
	for _, f := range s.Files() {
		if f != nil {
			f.Close()
		}
	}
}

// New makes a namespace with lo up, the routes, the nft rules and the listeners. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
func New() (*Sockets, error) {
	return locked(func() (*os.File, error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return nil, fmt.Errorf("making a network namespace: %w", err)
		}
		namespace, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return nil, fmt.Errorf("opening the network namespace: %w", err)
		}
		return namespace, nil
	})
}

// Furnish does what New does in a fresh namespace that somebody else made, which the result owns.
func Furnish(namespace *os.File) (*Sockets, error) {
	return locked(func() (*os.File, error) {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			namespace.Close()
			return nil, fmt.Errorf("entering the network namespace: %w", err)
		}
		return namespace, nil
	})
}

// locked furnishes the namespace that enter leads a thread into.
func locked(enter func() (*os.File, error)) (*Sockets, error) {
	type result struct {
		sockets *Sockets
		err     error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes its namespace along.
		runtime.LockOSThread()
		s := &Sockets{}
		var err error
		if s.Namespace, err = enter(); err == nil {
			err = s.furnish()
		}
		if err != nil {
			s.Close()
		}
		done <- result{s, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	return r.sockets, nil
}

// furnish works in the namespace that the calling thread is in.
func (s *Sockets) furnish() (err error) {
	if err := routes(); err != nil {
		return err
	}
	if err := rules(); err != nil {
		return fmt.Errorf("setting nft rules in the network namespace: %w", err)
	}
	if err := sysctl("net/ipv4/ip_unprivileged_port_start", "0"); err != nil {
		return err
	}
	if s.Outbound, err = listen(unix.SOCK_STREAM, OutboundPort); err != nil {
		return err
	}
	if s.Packet, err = listen(unix.SOCK_DGRAM, DNSPort); err != nil {
		return err
	}
	s.Stream, err = listen(unix.SOCK_STREAM, DNSPort)
	return err
}

// routes brings lo up, gives it the instance's address and makes every destination local.
func routes() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo in the network namespace: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	self := &netlink.Addr{IPNet: &net.IPNet{IP: Self().AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrAdd(lo, self); err != nil {
		return fmt.Errorf("giving lo the address %s: %w", Self(), err)
	}
	all := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	}
	if err := netlink.RouteAdd(all); err != nil {
		return fmt.Errorf("adding the route local 0.0.0.0/0 dev lo: %w", err)
	}
	return nil
}

// sysctl sets a value of the calling thread's network namespace.
func sysctl(name, value string) error {
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %s: %w", name, value, err)
	}
	return nil
}

func listen(kind, port int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket in the network namespace: %w", err)
	}
	where := netip.AddrPortFrom(Gateway(), uint16(port))
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: Gateway().As4()}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding %s in the network namespace: %w", where, err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 1024); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("listening on %s in the network namespace: %w", where, err)
		}
	}
	return os.NewFile(uintptr(fd), "netns:"+strconv.Itoa(port)), nil
}
