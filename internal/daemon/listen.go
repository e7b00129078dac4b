package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// listeners hands out listening sockets: those that systemd passed by name (FileDescriptorName=api, gateway, ...), else those
// that were held since the daemon before, else new ones.
type listeners struct {
	inherited map[string][]net.Listener
	held      map[sandbox.Socket]net.Listener
	taken     []net.Listener
	wanted    map[sandbox.Socket]bool             // may have been held
	lasting   map[sandbox.Socket]*net.TCPListener // of these, those to be held for the next daemon
	published *publishedPorts
}

// heldSockets are the listeners that outlive the daemon, with the addresses asked for. Those of the API and of the metrics are not among
// them: commands and health checks must see at once that no daemon is there.
func heldSockets(s *Settings) map[string]string {
	return map[string]string{"gateway": s.GatewayListen, "gateway-tls": s.GatewayTLSListen, "registry": s.RegistryListen}
}

// newListeners takes over what systemd passed and, from the sandbox helper of the folder, what the daemon before has left. The
// listeners are there together with an error when only the latter could not be had.
func newListeners(ctx context.Context, s *Settings, sandboxDir string) (*listeners, error) {
	inherited, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	l := &listeners{inherited: inherited, wanted: map[sandbox.Socket]bool{}, lasting: map[sandbox.Socket]*net.TCPListener{}, published: newPublishedPorts()}
	for name, address := range heldSockets(s) {
		if len(inherited[name]) == 0 && !s.disabled(name) {
			l.wanted[sandbox.Socket{Name: name, Address: address}] = true
		}
	}
	wanted := slices.Collect(maps.Keys(l.wanted))
	if s.serves() {
		wanted = append(wanted, sandbox.Socket{Name: publishedName}) // whichever they are: the store, which knows, is not open yet
	}
	l.held, err = sandbox.TakeSockets(ctx, sandboxDir, wanted)
	l.published.inherit(l.held)
	return l, err
}

// take gives the listener of a component. The error of a busy address says which flag changes it.
func (l *listeners) take(name, address string) (net.Listener, error) {
	if passed := l.inherited[name]; len(passed) > 0 {
		l.inherited[name] = passed[1:]
		l.taken = append(l.taken, passed[0])
		return passed[0], nil
	}
	socket := sandbox.Socket{Name: name, Address: address}
	if held := l.held[socket]; held != nil {
		delete(l.held, socket)
		l.took(socket, held)
		return held, nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, listenError(name, address, err)
	}
	l.took(socket, listener)
	return listener, nil
}

// took notes a listener that is not systemd's.
func (l *listeners) took(socket sandbox.Socket, listener net.Listener) {
	l.taken = append(l.taken, listener)
	if tcp, ok := listener.(*net.TCPListener); ok && l.wanted[socket] {
		l.lasting[socket] = tcp
	}
}

// closeRest closes what no component wanted.
func (l *listeners) closeRest() {
	for _, listener := range l.held {
		listener.Close()
	}
}

// closeTaken closes what was handed out, when the daemon cannot be made after all.
func (l *listeners) closeTaken() {
	for _, listener := range l.taken {
		listener.Close()
	}
	l.published.Retain(nil)
}

func listenError(name, address string, err error) error {
	flag := "--" + name + "-listen"
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return advise(fmt.Errorf("%s cannot listen on %s: another program does", name, address),
			fmt.Sprintf("see which with `ss -ltnp`, or choose another address with %s", flag))
	case errors.Is(err, unix.EACCES):
		return advise(fmt.Errorf("%s cannot listen on %s: ports below 1024 need a privilege", name, address),
			fmt.Sprintf("choose a port above 1023 with %s, or give the binary CAP_NET_BIND_SERVICE", flag))
	}
	return advise(fmt.Errorf("%s cannot listen on %s: %w", name, address, err), "choose another address with "+flag)
}
