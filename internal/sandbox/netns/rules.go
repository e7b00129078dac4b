package netns

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Offsets in the headers that the rules look at.
const (
	daddrOffset = 16 // IPv4 destination
	dportOffset = 2  // TCP and UDP destination port
)

// rules turns DNS and TCP that leaves for other addresses to the listeners, and refuses all other datagrams at once.
// In the words of nft:
//
//	table ip fairlead {
//	  chain turn   { type nat hook output priority dstnat; ip daddr {127.0.0.0/8, self} return
//	                 udp dport 53 dnat to gateway:65053; tcp dport 53 dnat to gateway:65053
//	                 ip daddr gateway return; meta l4proto tcp dnat to gateway:65001 }
//	  chain refuse { type filter hook output priority 0; ip daddr {127.0.0.0/8, self, gateway} return
//	                 meta l4proto udp log group 65 reject }
//	}
func rules() error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "fairlead"})
	turn := c.AddChain(&nftables.Chain{
		Name: "turn", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	refuse := c.AddChain(&nftables.Chain{
		Name: "refuse", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	add := func(chain *nftables.Chain, exprs ...[]expr.Any) {
		var all []expr.Any
		for _, e := range exprs {
			all = append(all, e...)
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: all})
	}
	back := []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	for _, chain := range []*nftables.Chain{turn, refuse} {
		add(chain, toRange(netip.MustParsePrefix("127.0.0.0/8")), back)
		add(chain, toRange(netip.PrefixFrom(Self(), 32)), back)
	}
	add(turn, protocol(unix.IPPROTO_UDP), toPort(53), dnat(DNSPort))
	add(turn, protocol(unix.IPPROTO_TCP), toPort(53), dnat(DNSPort))
	for _, chain := range []*nftables.Chain{turn, refuse} {
		add(chain, toRange(netip.PrefixFrom(Gateway(), 32)), back)
	}
	add(turn, protocol(unix.IPPROTO_TCP), dnat(OutboundPort))
	add(refuse, protocol(unix.IPPROTO_UDP), []expr.Any{
		&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN, Group: LogGroup, Snaplen: 64},
		&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}, // port unreachable
	})
	return c.Flush()
}

func protocol(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
	}
}

func toPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: dportOffset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

func toRange(p netip.Prefix) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: daddrOffset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func dnat(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: Gateway().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}
