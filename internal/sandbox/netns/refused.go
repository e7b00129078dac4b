package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers of the kernel's nfnetlink_log interface that package unix does not have.
const (
	logConfig     = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG
	logPacket     = unix.NFNL_SUBSYS_ULOG << 8   // NFULNL_MSG_PACKET
	attrCommand   = 1                            // NFULA_CFG_CMD
	attrMode      = 2                            // NFULA_CFG_MODE
	attrPayload   = 9                            // NFULA_PAYLOAD
	commandBind   = 1                            // NFULNL_CFG_CMD_BIND
	copyPacket    = 2                            // NFULNL_COPY_PACKET
	netlinkHeader = 16
	nfgenHeader   = 4
	copied        = 64 // bytes of a packet
)

// Refusals is told about every datagram that the rules of a namespace refuse.
type Refusals struct{ f *os.File }

// Refusals opens the refusals of a namespace.
func (d *Dialer) Refusals(ctx context.Context, namespace *os.File) (*Refusals, error) {
	fd, err := d.socket(ctx, namespace, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening the log of refused datagrams: %w", err)
	}
	mode := append(binary.BigEndian.AppendUint32(nil, copied), copyPacket, 0)
	for _, m := range [][]byte{logMessage(attrCommand, []byte{commandBind}), logMessage(attrMode, mode)} {
		if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("asking for refused datagrams: %w", err)
		}
	}
	return &Refusals{os.NewFile(uintptr(fd), "refusals")}, nil
}

// logMessage is a configuration message with one attribute.
func logMessage(attr uint16, value []byte) []byte {
	body := []byte{unix.AF_UNSPEC, 0, 0, LogGroup} // the group is in network order
	body = binary.NativeEndian.AppendUint16(body, uint16(4+len(value)))
	body = binary.NativeEndian.AppendUint16(body, attr)
	body = append(body, value...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	m := binary.NativeEndian.AppendUint32(nil, uint32(netlinkHeader+len(body)))
	m = binary.NativeEndian.AppendUint16(m, logConfig)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST)
	m = append(m, make([]byte, 8)...) // sequence and port
	return append(m, body...)
}

// Next waits for the next refused datagrams and gives where they were to go. The error is os.ErrClosed after Close.
func (r *Refusals) Next() ([]netip.AddrPort, error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := r.f.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			continue // more than we could read: some are not told
		}
		if err != nil {
			return nil, err
		}
		if to := refused(buf[:n]); len(to) > 0 {
			return to, nil
		}
	}
}

// Close ends Next.
func (r *Refusals) Close() error { return r.f.Close() }

// refused takes the destinations of UDP packets out of netlink messages. What is not understood is passed over.
func refused(b []byte) []netip.AddrPort {
	var out []netip.AddrPort
	for len(b) >= netlinkHeader {
		size := int(binary.NativeEndian.Uint32(b))
		if size < netlinkHeader || size > len(b) {
			return out
		}
		if binary.NativeEndian.Uint16(b[4:]) == logPacket && size >= netlinkHeader+nfgenHeader {
			if to, ok := destination(attribute(b[netlinkHeader+nfgenHeader:size], attrPayload)); ok {
				out = append(out, to)
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return out
}

func attribute(b []byte, want uint16) []byte {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == want {
			return b[4:size]
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// destination reads the address and port of an IPv4 datagram.
func destination(p []byte) (netip.AddrPort, bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return netip.AddrPort{}, false
	}
	header := int(p[0]&0xf) * 4
	if header < 20 || len(p) < header+4 {
		return netip.AddrPort{}, false
	}
	addr := netip.AddrFrom4([4]byte(p[daddrOffset : daddrOffset+4]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(p[header+dportOffset:])), true
}
