package gateway

import "time"

// Sample is the load of one backend since the sample before: what the autoscaler is fed with.
type Sample struct {
	// Concurrency is the average number of requests at once, waiting ones included, over the time since the last sample.
	Concurrency float64
	// Requests is how many arrived since the last sample.
	Requests int
	// Period is the time since the last sample.
	Period time.Duration
	// InFlight counts the requests there are now, Waiting those of them that wait for an instance.
	InFlight, Waiting int
	// Instances is how many take requests.
	Instances int
	// LastRequest is when the last request arrived or ended; zero if there was none.
	LastRequest time.Time
}

// Stats is the state of one backend now. Taking it changes nothing.
type Stats struct {
	Backend string
	// Requests counts all that arrived.
	Requests uint64
	// InFlight counts the requests that instances have, Waiting those in the room.
	InFlight, Waiting int
	LastRequest       time.Time
	Instances         []InstanceStats
}

// InstanceStats is the state of one instance now.
type InstanceStats struct {
	ID       string
	InFlight int
	// Ejected is until when others are preferred because connections to this one did not work; zero or past: it is sound.
	Ejected time.Time
	// Draining says that it takes no new requests.
	Draining bool
}

// meter integrates the number of requests at once over time. Its owner has the lock.
type meter struct {
	current  int
	total    uint64
	seen     time.Time // last arrival or departure
	area     float64   // request-seconds since begun
	last     time.Time // until when area is counted
	begun    time.Time
	arrivals int // since begun
}

func (m *meter) advance(now time.Time) {
	if m.begun.IsZero() {
		m.begun, m.last = now, now
	}
	if d := now.Sub(m.last); d > 0 {
		m.area += d.Seconds() * float64(m.current)
		m.last = now
	}
}

func (m *meter) enter(now time.Time) {
	m.advance(now)
	m.current++
	m.arrivals++
	m.total++
	m.seen = now
}

func (m *meter) leave(now time.Time) {
	m.advance(now)
	m.current--
	m.seen = now
}

// sample gives the averages since the last call and begins anew.
func (m *meter) sample(now time.Time) Sample {
	m.advance(now)
	s := Sample{Requests: m.arrivals, InFlight: m.current, LastRequest: m.seen, Period: now.Sub(m.begun)}
	if s.Period > 0 {
		s.Concurrency = m.area / s.Period.Seconds()
	} else {
		s.Concurrency = float64(m.current)
	}
	m.begun, m.last, m.area, m.arrivals = now, now, 0, 0
	return s
}
