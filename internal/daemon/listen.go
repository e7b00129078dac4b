package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// listeners hands out listening sockets: those that systemd passed by name (FileDescriptorName=api, gateway, ...), else
// new ones.
type listeners struct {
	inherited map[string][]net.Listener
	taken     []net.Listener
}

func newListeners() (*listeners, error) {
	inherited, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	return &listeners{inherited: inherited}, nil
}

// take gives the listener of a component. The error of a busy address says which flag changes it.
func (l *listeners) take(name, address string) (net.Listener, error) {
	if passed := l.inherited[name]; len(passed) > 0 {
		l.inherited[name] = passed[1:]
		l.taken = append(l.taken, passed[0])
		return passed[0], nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, listenError(name, address, err)
	}
	l.taken = append(l.taken, listener)
	return listener, nil
}

// closeTaken closes what was handed out, when the daemon cannot be made after all.
func (l *listeners) closeTaken() {
	for _, listener := range l.taken {
		listener.Close()
	}
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
