package gateway

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// lastingSet are the connections to instances that have come out of an upgrade and go on.
type lastingSet struct {
	partTime time.Duration // of a client that was told of the end; set before any is added

	mu     sync.Mutex // guards the fields below; the lock of one of them is never taken while it is held
	open   map[*lasting]struct{}
	ending bool
}

// lasting is one of them: what the instance says is read from it, what the client says is written to it.
type lasting struct {
	io.ReadWriteCloser
	set       *lastingSet
	webSocket bool
	gone      chan struct{} // closed when the client has answered the end, or left
	leave     func()

	mu               sync.Mutex // guards the fields below
	said, heard      frames     // by the instance and by the client
	reading, writing bool       // all that was read before was passed on; something is being written
	ending, ended    bool       // it is to end at the next boundary of a frame; it has
	rest             []byte     // to be read after the end
}

// add makes the connection behind an answer one of the set.
func (s *lastingSet) add(pipe io.ReadWriteCloser, res *http.Response) *lasting {
	l := &lasting{
		ReadWriteCloser: pipe, set: s, gone: make(chan struct{}),
		webSocket: strings.EqualFold(res.Header.Get("Upgrade"), "websocket"),
	}
	l.leave = sync.OnceFunc(func() { close(l.gone) })
	s.mu.Lock()
	defer s.mu.Unlock()
	l.ending = s.ending
	s.open[l] = struct{}{}
	return l
}

// end closes all, each where its frames allow it, and waits until their clients know, or ctx ends.
func (s *lastingSet) end(ctx context.Context) {
	s.mu.Lock()
	s.ending = true
	all := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	var ends sync.WaitGroup
	for _, l := range all {
		ends.Go(l.end)
	}
	ends.Wait()
	for _, l := range all {
		select {
		case <-l.gone:
		case <-ctx.Done():
			return
		}
	}
}

// end ends the connection now, or at the next boundary of a frame.
func (l *lasting) end() {
	l.mu.Lock()
	l.ending = true
	now := l.reading && l.mayEnd()
	tell := now && l.endHere()
	l.mu.Unlock()
	if now {
		l.part(tell)
	}
}

// mayEnd says whether nothing is half said by the instance. What it has closed itself is left to it.
func (l *lasting) mayEnd() bool {
	return l.ending && !l.ended && (!l.webSocket || l.said.between() && !l.said.closed)
}

// endHere makes what was read so far the last of the instance, and says whether it can be told so.
func (l *lasting) endHere() (tell bool) {
	l.ended = true
	if l.webSocket {
		l.rest = farewell(false)
	}
	return l.webSocket && !l.writing && l.heard.between() && !l.heard.closed
}

// part tells the instance, if it may be, and lets go of it, by which a read that waits ends.
func (l *lasting) part(tell bool) {
	if tell {
		late := time.AfterFunc(l.set.partTime, func() { _ = l.ReadWriteCloser.Close() })
		defer late.Stop()
		_, _ = l.ReadWriteCloser.Write(farewell(true)) // an instance that is gone needs no word
	}
	_ = l.ReadWriteCloser.Close() // as above
}

// Read gives what the instance says, and the end of it. The caller has passed on what it has read when it reads again.
func (l *lasting) Read(b []byte) (int, error) {
	l.mu.Lock()
	if l.mayEnd() {
		tell := l.endHere()
		l.mu.Unlock()
		l.part(tell)
		return l.readEnd(b)
	}
	ended := l.ended
	l.reading = true
	l.mu.Unlock()
	if ended {
		return l.readEnd(b)
	}
	n, err := l.ReadWriteCloser.Read(b)
	l.mu.Lock()
	l.reading = false
	ended = l.ended
	if l.webSocket && !ended {
		if whole := l.said.feed(b[:n]); l.ending && whole > 0 && whole < n {
			n, err, l.said = whole, nil, frames{} // the rest is of a frame that does not become whole
		}
	}
	l.mu.Unlock()
	if ended {
		return l.readEnd(b)
	}
	return n, err
}

// readEnd gives the last frame, then waits for the client to answer, some time.
func (l *lasting) readEnd(b []byte) (int, error) {
	l.mu.Lock()
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	l.mu.Unlock()
	switch {
	case n > 0:
		return n, nil
	case !l.webSocket:
		return 0, io.EOF
	}
	wait := time.NewTimer(l.set.partTime)
	defer wait.Stop()
	select {
	case <-l.gone:
	case <-wait.C:
	}
	return 0, io.EOF
}

// Write passes on what the client says. After the end it is only listened to.
func (l *lasting) Write(b []byte) (int, error) {
	l.mu.Lock()
	ended := l.ended
	l.writing = !ended
	if ended && l.webSocket {
		l.heard.feed(b)
	}
	closed := l.heard.closed && l.heard.between()
	l.mu.Unlock()
	if ended {
		if closed {
			l.leave()
		}
		return len(b), nil
	}
	n, err := l.ReadWriteCloser.Write(b)
	l.mu.Lock()
	l.writing = false
	if l.webSocket {
		l.heard.feed(b[:n])
	}
	l.mu.Unlock()
	return n, err
}

// Close ends both directions.
func (l *lasting) Close() error {
	l.set.mu.Lock()
	delete(l.set.open, l)
	l.set.mu.Unlock()
	l.leave()
	return l.ReadWriteCloser.Close()
}
