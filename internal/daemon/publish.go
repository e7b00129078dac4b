package daemon

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// publishedName is under which the sandbox helper holds the ports that services publish.
const publishedName = "published"

// publishedPorts are the addresses that services publish. Those that were open when the daemon before went are there already, held by
// the sandbox helper, with what clients have sent to them meanwhile.
type publishedPorts struct {
	changed chan struct{} // told when others are to be held; it holds one message, more say nothing new

	mu   sync.Mutex // guards the fields below
	held map[string]net.Listener
	open map[string]*net.TCPListener
}

func newPublishedPorts() *publishedPorts {
	return &publishedPorts{changed: make(chan struct{}, 1), held: map[string]net.Listener{}, open: map[string]*net.TCPListener{}}
}

// inherit takes those of a published port out of what was held since the daemon before.
func (p *publishedPorts) inherit(all map[sandbox.Socket]net.Listener) {
	for socket, listener := range all {
		if socket.Name == publishedName {
			p.held[socket.Address] = listener
			delete(all, socket)
		}
	}
}

// Listen opens an address.
func (p *publishedPorts) Listen(ctx context.Context, address string) (net.Listener, error) {
	p.mu.Lock()
	listener := p.held[address]
	delete(p.held, address)
	p.mu.Unlock()
	if listener == nil {
		var err error
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
			return nil, err
		}
	}
	if tcp, ok := listener.(*net.TCPListener); ok {
		p.mu.Lock()
		p.open[address] = tcp
		p.mu.Unlock()
		p.tell()
	}
	return listener, nil
}

// Retain lets go of all addresses but these. It does not close what Listen gave.
func (p *publishedPorts) Retain(addresses []string) {
	p.mu.Lock()
	before := len(p.held) + len(p.open)
	maps.DeleteFunc(p.held, func(address string, l net.Listener) bool {
		gone := !slices.Contains(addresses, address)
		if gone {
			l.Close()
		}
		return gone
	})
	maps.DeleteFunc(p.open, func(address string, _ *net.TCPListener) bool { return !slices.Contains(addresses, address) })
	changed := before != len(p.held)+len(p.open)
	p.mu.Unlock()
	if changed {
		p.tell()
	}
}

func (p *publishedPorts) tell() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// lasting adds to the sockets that are to be held for the next daemon.
func (p *publishedPorts) lasting(own map[sandbox.Socket]*net.TCPListener) map[sandbox.Socket]*net.TCPListener {
	all := maps.Clone(own)
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, listener := range p.held {
		if tcp, ok := listener.(*net.TCPListener); ok {
			all[sandbox.Socket{Name: publishedName, Address: address}] = tcp
		}
	}
	for address, listener := range p.open {
		all[sandbox.Socket{Name: publishedName, Address: address}] = listener
	}
	return all
}
