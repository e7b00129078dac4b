package sandbox

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Elsewhere says that something in an instance listens, but not where its container is asked whether it is ready.
type Elsewhere struct {
	// Port is the one that is asked.
	Port uint16 `json:"port"`
	// Listens are the addresses that something listens on, in order; at least one.
	Listens []netip.AddrPort `json:"listens"`
}

// String says it to people.
func (e *Elsewhere) String() string {
	if i := slices.IndexFunc(e.Listens, func(a netip.AddrPort) bool { return a.Port() == e.Port }); i >= 0 {
		return fmt.Sprintf("port %d is listened on only at %s, where no request arrives: it has to be 0.0.0.0 or 127.0.0.1", e.Port, e.Listens[i].Addr())
	}
	const most = 5
	ports := e.Ports()
	var shown []string
	for _, p := range ports[:min(most, len(ports))] {
		shown = append(shown, strconv.Itoa(int(p)))
	}
	if len(ports) > most {
		shown = append(shown, "others")
	}
	where := "port " + shown[0]
	if last := len(shown) - 1; last > 0 {
		where = "ports " + strings.Join(shown[:last], ", ") + " and " + shown[last]
	}
	return fmt.Sprintf("nothing listens on port %d; the program listens on %s", e.Port, where)
}

// Ports are those of Listens, each once.
func (e *Elsewhere) Ports() []uint16 {
	var ports []uint16
	for _, a := range e.Listens {
		ports = append(ports, a.Port())
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// elsewhere judges what listens in a namespace; nil where the port is listened on so that Dial arrives, and where nothing listens yet.
func elsewhere(port uint16, listening []netip.AddrPort) *Elsewhere {
	for _, a := range listening {
		ip := a.Addr()
		dialled := ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()
		if a.Port() == port && (ip.IsUnspecified() || dialled) {
			return nil
		}
	}
	if len(listening) == 0 {
		return nil
	}
	return &Elsewhere{Port: port, Listens: listening}
}

// A program that is not ready is looked at after lookAfter, and again after a quarter of the time it has taken, lookMax at most.
const (
	lookAfter = 2 * time.Second
	lookMax   = 30 * time.Second
)

// lookout notices where a program listens that does not get ready.
type lookout struct {
	port  uint16
	began time.Time
	next  time.Time
	told  *Elsewhere
}

// newLookout gives none, nil, where no port is asked.
func newLookout(p *Probe, now time.Time) *lookout {
	port := p.port()
	if port == 0 {
		return nil
	}
	return &lookout{port: port, began: now, next: now.Add(lookAfter)}
}

// due says whether it is time to look, and when it will be next.
func (o *lookout) due(now time.Time) bool {
	if o == nil || now.Before(o.next) {
		return false
	}
	o.next = now.Add(min(max(lookAfter, now.Sub(o.began)/4), lookMax))
	return true
}

// learn takes what listens and says whether that is news.
func (o *lookout) learn(listening []netip.AddrPort) bool {
	before := o.told
	o.told = elsewhere(o.port, listening)
	if before == nil || o.told == nil {
		return before != o.told
	}
	return !slices.Equal(before.Listens, o.told.Listens)
}

// look looks, when it is time, and tells the owner what is new; false if ctx ended.
func (i *Instance) look(ctx context.Context, o *lookout, r probeResult) bool {
	if !o.due(time.Now()) {
		return true
	}
	listening, err := i.m.dialer.Listening(ctx, i.sockets.Namespace)
	if err != nil {
		if ctx.Err() == nil {
			i.m.log.Warn("looking where a program listens", "instance", i.id, "container", r.container, "err", err)
		}
		return ctx.Err() == nil
	}
	if !o.learn(listening) {
		return true
	}
	r.looked, r.elsewhere = true, o.told
	return i.tell(ctx, r)
}

// port is the one that is asked, 0 for none.
func (p *Probe) port() uint16 {
	switch {
	case p.HTTP != nil:
		return p.HTTP.Port
	case p.TCP != nil:
		return p.TCP.Port
	case p.GRPC != nil:
		return p.GRPC.Port
	}
	return 0
}
