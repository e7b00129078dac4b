package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// untilGone gives a request and its writer for a handler that takes the connection over: the request's context then ends when the
// caller is gone, for which net/http no longer looks.
func untilGone(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, gone := context.WithCancel(r.Context())
	return leaving{w, gone}, r.WithContext(ctx), gone
}

// leaving is a ResponseWriter whose connection tells when the other side has left.
type leaving struct {
	http.ResponseWriter
	gone context.CancelFunc
}

func (l leaving) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(l.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	watched := watchedConn{conn, l.gone}
	from := io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), watched)
	return watched, bufio.NewReadWriter(bufio.NewReader(from), bufio.NewWriter(watched)), nil
}

// watchedConn calls gone when nothing more comes. Both protocols of streams read all the time.
type watchedConn struct {
	net.Conn
	gone context.CancelFunc
}

func (c watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone()
	}
	return n, err
}
