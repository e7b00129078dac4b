package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// way is how requests get to one instance and answers back. It knows nothing of routes, slots, logs and what may be tried again at another
// instance. Its own attempts follow RFC 9110, section 9.2.2: one more, on a new connection, where one that had been idle turned out to be
// closed, nothing came back on it, and either nothing was sent or the request may be repeated.
type way interface {
	// send gives the answer as soon as its head is there. The context of the request is in force until the body of the answer has
	// been read or closed. The body of the request may be read for a while after that, and is never closed.
	send(out *http.Request, w witness) (*http.Response, error)
	// close ends the connections that are idle, and from then on each one as soon as it is.
	close()
}

// witness is told what becomes of a request until its answer is there. It may be told from several goroutines, also after send has returned.
type witness interface {
	// wrote says that the instance may know of the request from here on.
	wrote()
	// began says that a byte of an answer has come.
	began()
	// interim gives an answer before the answer: 1xx, but not 101. An error ends the exchange.
	interim(status int, h http.Header) error
}

const (
	// idleConnTimeout is below the keep-alive time of common servers (Node.js: 5 s), so that the gateway and not the program is
	// the one to close a connection that nobody uses.
	idleConnTimeout = 4 * time.Second

	// dialTimeout is long for a connection on one machine: the program does not accept any.
	dialTimeout = 5 * time.Second

	// maxIdle is how many idle connections to one instance are kept.
	maxIdle = 512

	// maxAnswerHead is how large the head of an answer may be.
	maxAnswerHead = 1 << 20

	// sentTimeout is how long a connection waits, after the answer, for the rest of the request, to be kept.
	sentTimeout = 50 * time.Millisecond
)

func newWay(id string, dial func(context.Context) (net.Conn, error), protocol Protocol) way {
	limited := func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(ctx)
		if err != nil {
			return nil, &dialError{instance: id, err: err}
		}
		return conn, nil
	}
	if protocol == H2C {
		return newStandard(limited, protocol)
	}
	return &wire{dial: limited, odd: newStandard(limited, protocol)}
}

// standard is the way of net/http.
type standard struct{ transport *http.Transport }

func newStandard(dial func(context.Context) (net.Conn, error), protocol Protocol) standard {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleConnTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHead,
		Protocols:              new(http.Protocols),
	}
	if protocol == H2C {
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return standard{t}
}

// noUserAgent keeps net/http from naming itself.
var noUserAgent = []string{""}

func (s standard) send(out *http.Request, w witness) (*http.Response, error) {
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = noUserAgent
	}
	trace := &httptrace.ClientTrace{
		GotFirstResponseByte: w.began,
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				w.wrote()
			}
		},
		Got1xxResponse: func(status int, h textproto.MIMEHeader) error { return w.interim(status, http.Header(h)) },
	}
	return s.transport.RoundTrip(out.WithContext(httptrace.WithClientTrace(out.Context(), trace)))
}

func (s standard) close() { s.transport.CloseIdleConnections() }

// dialError says that no connection to an instance could be made: nothing of the request was sent.
type dialError struct {
	instance string
	err      error
}

func (e *dialError) Error() string {
	return "connecting to instance " + e.instance + ": " + e.err.Error()
}
func (e *dialError) Unwrap() error { return e.err }
