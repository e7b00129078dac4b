package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Causes for which an exchange is cancelled.
var (
	errTimeout      = errors.New("no first byte of the answer within the time allowed")
	errStartTimeout = errors.New("the instance did not begin its answer within the time allowed")
	errWaking       = errors.New("the wake takes longer than a browser should wait")
	errIdleTimeout  = errors.New("no byte of the answer for longer than the time allowed")
)

// exchange is one request on its way and its answer on the way back.
type exchange struct {
	g       *Gateway
	in      *http.Request // as it came
	caller  *Caller
	rule    *rule
	split   *split
	backend *backend
	spec    *Backend

	arrived  time.Time
	cancel   context.CancelCauseFunc
	timeouts []*time.Timer // those that the first byte stops
	starting *time.Timer   // that of the last ResponseStartTimeout, nil if there is none
	idle     *idleWatch
	body     *requestBody // nil when the request has none
	written  atomic.Bool  // has been sent to an instance at least once
	answered atomic.Bool  // a byte of an answer has come

	instance *instance // whose slot is taken
	joined   time.Time // when it joined the room; zero if it did not
	granted  time.Time // when it got the slot; only set if it joined the room
	browser  bool      // may be shown a page instead of an answer
	timing   bool      // asked for Server-Timing
	waking   *time.Timer
	upgrades bool    // may become a connection
	lasting  bool    // has become one
	target   url.URL // of the request as it goes out
	early    earlyAnswers
	transfer *transfer // the body of the answer, if it came over a wire
	logged   bool
	parent   string // traceparent that the instance got
	status   int
	size     atomic.Int64
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// requestBody notes what happens to the body of a request.
type requestBody struct {
	io.ReadCloser
	touched atomic.Bool // some of it may be on its way to an instance
	over    atomic.Bool // the exchange has ended: the server does not allow it to be read any more
	failed  atomic.Bool // the client sent something wrong or went away
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.over.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.touched.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed.Store(true)
	}
	return n, err
}

// openBody hides Close: an attempt that fails must not take the body away from the next one.
type openBody struct{ io.Reader }

func (openBody) Close() error { return nil }

// after cancels the exchange with the cause when d has passed without the first byte.
func (x *exchange) after(d time.Duration, cause error) *time.Timer {
	t := time.AfterFunc(d, func() { x.cancel(cause) })
	x.timeouts = append(x.timeouts, t)
	return t
}

// stopTimeouts says whether none of the timeouts has fired.
func (x *exchange) stopTimeouts() bool {
	intact := true
	for _, t := range x.timeouts {
		intact = t.Stop() && intact
	}
	x.timeouts = x.timeouts[:0]
	return intact
}

// end gives back what the exchange holds.
func (x *exchange) end() {
	x.stopTimeouts()
	if x.body != nil {
		x.body.over.Store(true)
	}
	if x.idle != nil {
		x.idle.stop()
	}
	now := time.Now()
	if x.lasting {
		x.backend.lasts(x.instance, -1)
	}
	x.backend.leave(x.instance, now)
	x.cancel(nil)
	x.g.metrics.done(x, now)
}

// roundTrip takes a slot and sends the request there.
func (x *exchange) roundTrip(out *http.Request) (*http.Response, error) {
	ctx := out.Context()
	body := out.Body
	for attempt := 0; ; attempt++ {
		if x.instance == nil { // else a slot was free on arrival
			err := x.acquire(ctx)
			for errors.Is(err, errMoved) {
				if err = x.move(out); err == nil && x.instance == nil {
					err = x.acquire(ctx)
				}
			}
			if err != nil {
				return nil, err
			}
		}
		if body != nil {
			out.Body = openBody{body}
		}
		res, err := x.send(out, x.instance)
		if err == nil {
			return res, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !x.mayRetry(err, attempt) {
			return nil, err
		}
		x.g.metrics.retries.Inc()
		x.backend.release(x.instance, false, time.Now())
		x.instance = nil
		if err := x.pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// move chooses again, by the table in force now, for a request that has not been sent.
func (x *exchange) move(out *http.Request) error {
	route := x.g.routes.Load().find(x.in.Host, x.caller)
	if route == nil {
		return &refusedError{unknownHost}
	}
	for _, set := range [][]header{x.rule.setHeaders, x.split.setHeaders} {
		for _, h := range set {
			out.Header[h.name] = x.in.Header[h.name]
			if out.Header[h.name] == nil {
				delete(out.Header, h.name)
			}
		}
	}
	old := x.backend
	if f := x.choose(route); f != "" {
		x.backend = old
		return &refusedError{f}
	}
	if x.spec.Handler != nil {
		x.backend = old
		return &failedError{"the service was replaced by another one, try again"}
	}
	instance, ok := x.backend.arrive(time.Now())
	if !ok {
		x.backend = old
		return errMoved // the table has changed once more
	}
	old.leave(nil, time.Now())
	x.instance = instance
	out.Host = x.in.Host
	x.setHeaders(out, x.in)
	return nil
}

// refusedError carries a refusal that came about while the request waited.
type refusedError struct{ refusal }

func (e *refusedError) Error() string { return e.sentence() }

// acquire takes a slot, waiting if need be.
func (x *exchange) acquire(ctx context.Context) error {
	i, joined, err := x.backend.acquire(ctx, time.Now(), x.joining)
	if x.waking != nil && !x.waking.Stop() && ctx.Err() == nil {
		<-ctx.Done() // it has fired and is about to cancel
	}
	x.waking = nil
	if err != nil {
		return err
	}
	x.instance = i
	if !joined.IsZero() {
		x.granted = time.Now()
		if x.joined.IsZero() {
			x.joined = joined
		}
	}
	return nil
}

// joining is called when the exchange has to wait; cold means that there is no instance at all.
func (x *exchange) joining(cold bool) {
	if cold && x.browser {
		x.waking = time.AfterFunc(wakingAfter, func() { x.cancel(errWaking) })
	}
}

// send makes one attempt. It gives an answer whose first byte came in time, or an error.
func (x *exchange) send(out *http.Request, i *instance) (*http.Response, error) {
	before := len(x.timeouts)
	if d := x.spec.ResponseStartTimeout; d > 0 {
		x.starting = x.after(d, errStartTimeout)
	}
	switch d := x.spec.IdleTimeout; {
	case d > 0 && x.idle == nil:
		x.idle = watchIdle(d, x.cancel)
	case d > 0:
		x.idle.progress()
	}
	res, err := i.wayTo(x.spec.Protocol).send(out, x)
	if err == nil && res.StatusCode < 200 && (!x.upgrades || res.StatusCode != http.StatusSwitchingProtocols) {
		res.Body.Close()
		err = fmt.Errorf("the answer has the status %d, which was not asked for", res.StatusCode)
	}
	if err != nil {
		for _, t := range x.timeouts[before:] { // the next instance has its own time
			t.Stop()
		}
		x.timeouts = x.timeouts[:before]
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgraded(res)
	} else if !x.stopTimeouts() {
		res.Body.Close()
		return nil, errTimeout
	}
	x.noteFirstByte(res)
	x.transfer, _ = res.Body.(*transfer)
	if x.idle != nil {
		res.Body = x.idle.wrap(res.Body)
	}
	return res, nil
}

// upgraded leaves the timeouts running, as Knative does: what an instance says after the upgrade is its answer. The first byte of
// that ends ResponseStartTimeout; Timeout is for the whole of the connection.
func (x *exchange) upgraded(res *http.Response) {
	x.lasting = true
	x.backend.lasts(x.instance, 1)
	pipe, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return
	}
	pipe = x.g.lasting.add(pipe, res)
	if x.starting != nil {
		pipe = &startingPipe{pipe, x.starting}
	}
	res.Body = pipe
}

// startingPipe stops a timer at the first byte that is read.
type startingPipe struct {
	io.ReadWriteCloser
	timer *time.Timer
}

func (p *startingPipe) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	if n > 0 {
		p.timer.Stop()
	}
	return n, err
}

// attempts bounds how often an unreachable instance is tried; with the pauses between, about ten seconds.
const attempts = 25

// mayRetry decides whether a failed attempt may be followed by another one: only where the program has received nothing. Either no
// connection could be made and nothing was sent before; or the connection was reset, which the kernel does when a program ends, or
// closes, and has not read what came. One that ends after it has read a request closes its connection orderly: a request that
// broke an instance, for example by its use of memory, must not be given to the next one. Of a body a part may have been read. A
// connection that had been idle and turns out to be closed is dealt with by the way, and by the same rule.
func (x *exchange) mayRetry(err error, attempt int) bool {
	if attempt+1 >= attempts {
		return false
	}
	if x.spec.Protocol != H2C && x.body == nil && !x.answered.Load() && idempotent(x.in.Method) && errors.Is(err, unix.ECONNRESET) {
		x.written.Store(false)
	}
	var dial *dialError
	unreached := errors.As(err, &dial) || errors.Is(err, unix.ECONNRESET)
	return unreached && !x.written.Load() && (x.body == nil || !x.body.touched.Load())
}

// idempotent says whether a request may be sent a second time by somebody who does not know it (RFC 9110, section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// An exchange is the witness of its request.

func (x *exchange) wrote() { x.written.Store(true) }

func (x *exchange) began() { x.answered.Store(true) }

func (x *exchange) interim(status int, h http.Header) error {
	if !x.upgrades { // else httputil.ReverseProxy is told as well
		x.early.hand(status, h)
	}
	return nil
}

// pause waits before the next attempt: not at all before the second, then 10 ms doubling to 500 ms.
func (x *exchange) pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return nil
	}
	t := time.NewTimer(min(10*time.Millisecond<<min(attempt-1, 10), 500*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
