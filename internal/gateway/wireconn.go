package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wireConn is one connection of a wire. It carries one request at a time, and is used by nobody else meanwhile.
type wireConn struct {
	wire *wire
	nc   net.Conn
	raw  syscall.RawConn // nil: nc is no socket
	br   *bufio.Reader
	head []byte // of the request, kept for its room
	left int64  // what may still be read before the answer's head must have ended

	interrupt func()           // ends what is going on
	look      func(fd uintptr) // sets calm
	calm      bool             // nothing is there to be read, not even the end
	poll      [1]unix.PollFd

	uses    int        // requests that were sent on it
	wrote   bool       // of the present one: something was written
	came    bool       // of the present one: something was read
	begun   bool       // of the present one: the body may have been read
	since   time.Time  // idle since
	resting chan error // of a connection that is no socket: ends its read while it is idle
}

// maxKeptHead is the size up to which the room of a request's head is kept.
const maxKeptHead = 16 << 10

func newWireConn(w *wire, nc net.Conn) *wireConn {
	c := &wireConn{wire: w, nc: nc}
	c.br = bufio.NewReader(c)
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // no error from a connection that is open; without it, see rest
	}
	c.interrupt = func() { _ = nc.SetDeadline(past) } // a dead connection needs none
	c.look = func(fd uintptr) {
		c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		n, err := unix.Poll(c.poll[:], 0)
		c.calm = n == 0 && err == nil
	}
	return c
}

// past is a deadline that ends what is going on.
var past = time.Unix(1, 0)

var errAnswerHead = fmt.Errorf("the head of the answer is larger than %d bytes", maxAnswerHead)

// Read is for the buffer alone.
func (c *wireConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errAnswerHead
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.nc.Read(p)
	c.left -= int64(n)
	return n, err
}

// rest makes ready for being idle. What comes on a socket meanwhile is seen when it is taken again; on anything else, only by reading.
func (c *wireConn) rest(now time.Time) {
	c.since = now
	if c.raw != nil {
		return
	}
	c.left = 1
	c.resting = make(chan error, 1)
	go func() {
		_, err := c.br.Peek(1)
		c.resting <- err
	}()
}

// silent says that nothing, and no end, has come while the connection was idle. A byte that nobody asked for could be taken for the
// answer to the next request.
func (c *wireConn) silent() bool {
	if c.raw != nil {
		return c.raw.Control(c.look) == nil && c.calm
	}
	_ = c.nc.SetReadDeadline(past) // a dead connection tells by the read
	err := <-c.resting
	return errors.Is(err, os.ErrDeadlineExceeded) && c.nc.SetReadDeadline(time.Time{}) == nil
}

// send carries one request. The connection is closed, or kept, by it or by the end of the body that it gives.
func (c *wireConn) send(out *http.Request, by witness) (*http.Response, error) {
	c.uses++
	c.wrote, c.came, c.begun = false, false, false
	head, err := appendHead(c.head[:0], out)
	if err != nil {
		c.nc.Close()
		return nil, err
	}
	if cap(head) <= maxKeptHead {
		c.head = head
	}
	ctx := out.Context()
	t := &transfer{c: c, ctx: ctx, stop: context.AfterFunc(ctx, c.interrupt)}
	res, err := t.run(head, out, by)
	if err != nil {
		t.end(false)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return res, nil
}

// stale says that a request that failed may be sent on a new connection: this one was idle before, and may have been closed just then.
func (c *wireConn) stale(out *http.Request) bool {
	if c.uses == 1 || c.came || c.begun || out.Context().Err() != nil {
		return false
	}
	return !c.wrote || out.Body == nil && repeatable(out)
}

// repeatable says whether a request without a body may be sent again although the instance may have seen it.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// answer reads the head of the answer, and those before it.
func (c *wireConn) answer(out *http.Request, by witness) (*http.Response, error) {
	c.left = maxAnswerHead
	if _, err := c.br.Peek(1); err != nil {
		return nil, err
	}
	c.came = true
	by.began()
	for {
		res, err := http.ReadResponse(c.br, out)
		if err != nil {
			if c.left <= 0 {
				err = errAnswerHead
			}
			return nil, err
		}
		switch {
		case res.StatusCode >= 200:
			c.left = math.MaxInt64
			return res, nil
		case res.StatusCode < 100 || res.StatusCode == http.StatusSwitchingProtocols:
			return nil, fmt.Errorf("the answer has the status %d, which was not asked for", res.StatusCode)
		}
		if err := by.interim(res.StatusCode, res.Header); err != nil {
			return nil, err
		}
		c.left = maxAnswerHead
	}
}

// transfer is one request and its answer on a connection. It is the body of the answer.
type transfer struct {
	c    *wireConn
	ctx  context.Context // only as long as the transfer lasts
	stop func() bool     // ends the watch over ctx; false if that has ended the connection
	sent chan error      // nil when all was sent before the answer was read
	body io.ReadCloser   // as the parser gives it
	cut  bool            // into chunks
	keep bool            // the answer leaves the connection usable
	over bool            // the connection is not the transfer's any more
	err  error           // what every read gives from then on
}

func (t *transfer) run(head []byte, out *http.Request, by witness) (*http.Response, error) {
	c := t.c
	n, err := c.nc.Write(head)
	c.wrote = n > 0
	if err != nil {
		return nil, err
	}
	by.wrote()
	if out.Body != nil {
		c.begun = true
		t.sent = make(chan error, 1)
		go t.sendBody(out)
	}
	res, err := c.answer(out, by)
	if err != nil {
		return nil, t.unsent(err)
	}
	t.keep = !res.Close
	if res.ContentLength == 0 || out.Method == http.MethodHead {
		t.end(t.keep)
		return res, nil
	}
	t.body, res.Body = res.Body, t
	t.cut = len(res.TransferEncoding) > 0
	return res, nil
}

// unsent gives what is wrong with the body of the request in place of what that did to the connection.
func (t *transfer) unsent(err error) error {
	if t.sent == nil {
		return err
	}
	select {
	case sendErr := <-t.sent:
		t.sent <- sendErr
		var unread *unreadError
		if errors.As(sendErr, &unread) {
			return unread.err
		}
	default:
	}
	return err
}

// end gives the connection back, for the next request if all is well, and at most once.
func (t *transfer) end(well bool) {
	if t.over {
		return
	}
	t.over = true
	if well && t.allSent() && t.stop() && t.c.br.Buffered() == 0 {
		t.c.wire.keep(t.c)
		return
	}
	t.stop()
	t.c.nc.Close()
}

// allSent says whether the body of the request was sent whole. One that is not even now is not waited for much longer.
func (t *transfer) allSent() bool {
	if t.sent == nil {
		return true
	}
	select {
	case err := <-t.sent:
		return err == nil
	default:
	}
	timer := time.NewTimer(sentTimeout)
	defer timer.Stop()
	select {
	case err := <-t.sent:
		return err == nil
	case <-timer.C:
		return false
	}
}

// Read reads the body of the answer. With its end the connection is free, before the reader knows.
func (t *transfer) Read(p []byte) (int, error) {
	if t.over {
		return 0, t.err
	}
	n, err := t.body.Read(p)
	if err == nil {
		return n, nil
	}
	whole := errors.Is(err, io.EOF)
	if !whole && t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	t.err = err
	t.end(whole && t.keep)
	return n, err
}

// ready says that the next read of the body will not have to wait, as far as that can be known. A chunk may have come in parts.
func (t *transfer) ready(first bool) bool {
	if t.over {
		return true
	}
	c := t.c
	if t.cut {
		b, _ := c.br.Peek(c.br.Buffered()) // no error: all of it is there
		line := bytes.IndexByte(b, '\n')
		return first && line >= 0 && line+1 < len(b)
	}
	return c.br.Buffered() > 0 || c.raw != nil && c.raw.Control(c.look) == nil && !c.calm
}

// Close ends the connection unless the body was read to its end.
func (t *transfer) Close() error {
	if t.err == nil {
		t.err = http.ErrBodyReadAfterClose
	}
	t.end(false)
	return nil
}
