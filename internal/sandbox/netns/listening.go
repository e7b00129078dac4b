package netns

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listening gives the addresses on which TCP servers of a namespace listen, in order and each once, without the listeners of Sockets.
func (d *Dialer) Listening(ctx context.Context, namespace *os.File) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, name := range []string{"tcp", "tcp6"} {
		// The file shows the namespace of the thread that opened it, whoever reads it.
		path := "/proc/thread-self/net/" + name
		fd, err := d.open(ctx, namespace, func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("opening %s in the network namespace: %w", path, err)
		}
		f := os.NewFile(uintptr(fd), path)
		some, err := parseListening(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all = append(all, some...)
	}
	all = slices.DeleteFunc(all, func(a netip.AddrPort) bool { return a.Addr() == Gateway() })
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all), nil
}

// parseListening reads the sockets that listen from the kernel's table of TCP sockets.
func parseListening(r io.Reader) ([]netip.AddrPort, error) {
	const listens = "0A"
	var all []netip.AddrPort
	lines := bufio.NewScanner(r)
	for header := true; lines.Scan(); header = false {
		if header {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return nil, fmt.Errorf("line %q has %d fields", lines.Text(), len(fields))
		}
		if fields[3] != listens {
			continue
		}
		address, err := parseAddrPort(fields[1])
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	return all, lines.Err()
}

// parseAddrPort reads an address as the kernel shows it: words of four bytes in the machine's own order, and a port, all in hexadecimal.
func parseAddrPort(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(address)
	if err != nil || len(words) != 4 && len(words) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of a socket", text)
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q has no port", text)
	}
	addr, _ := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
