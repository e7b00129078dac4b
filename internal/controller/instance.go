package controller

import (
	"context"
	"net"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// box is a made instance as its scaler drives it.
type box interface {
	// Start lets the program of a spare run.
	Start(ctx context.Context) error
	// Stop ends it: SIGTERM, SIGKILL after the grace time (negative: the instance's own), and gives everything back.
	Stop(ctx context.Context, grace time.Duration) error
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
	// Watch calls changed with every state, the present one first, until the instance is gone or ctx ends.
	Watch(ctx context.Context, changed func(sandbox.State))
	// Dial opens a connection to the serving port.
	Dial(ctx context.Context) (net.Conn, error)
	// Usage is what it uses now.
	Usage(ctx context.Context) (sandbox.Usage, error)
	// Tail is the end of what a container wrote from one time to another; a zero time is open.
	Tail(container string, from, to time.Time) string
}

// boxMaker makes spares.
type boxMaker interface {
	makeBox(ctx context.Context, p *plan, id identity) (box, error)
}

// identity is who an instance is, in the API and to itself.
type identity struct {
	name string // the pod's
	uid  string
	ip   string
}

// instancePhase is where an instance is in its scaler's eyes.
type instancePhase int

const (
	phaseMaking   instancePhase = iota // being created
	phaseSpare                         // created, its program not started
	phaseStarting                      // told to start
	phaseLive                          // runs; ready or not
	phaseFrozen                        // stopped in place
	phaseLeaving                       // out of routing, finishing, then stopped
)

// instance is one instance of a revision. Its scaler's goroutine alone uses it.
type instance struct {
	identity
	phase   instancePhase
	box     box
	version string
	state   sandbox.State
	created time.Time
	started time.Time
	// wanted says that a making instance is to be started at once, not kept as a spare.
	wanted bool
	// waited says that the API showed it before it was made: the machine had no capacity then.
	waited bool
	// reserved is what it holds of the machine's capacity.
	reserved demand
	wake     *gateway.WakeTrace
	cancel   context.CancelFunc // ends its watch
	restarts int
}

// serves tells whether the instance counts towards what is wanted.
func (i *instance) serves() bool {
	return i.phase == phaseStarting || i.phase == phaseLive || i.phase == phaseMaking && i.wanted
}

func (i *instance) ready() bool { return i.phase == phaseLive && i.state.Ready }

// event is what comes to a scaler from the goroutines it started and from the API.
type event struct {
	instance *instance
	kind     eventKind
	box      box
	state    *sandbox.State // apart: a mailbox has room for many events, of which few are states
	err      error
	pod      string
}

type eventKind int

const (
	eventMade    eventKind = iota // box or err
	eventState                    // state
	eventStarted                  // err
	eventFrozen                   // err
	eventThawed                   // err
	eventGone                     // stopped and given back
	eventPodGone                  // the pod of this name was deleted by somebody
	eventRemake                   // what spares are made of has changed
)
