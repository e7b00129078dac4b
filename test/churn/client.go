package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"
)

// strictClient speaks HTTP/1.1 and sends what nobody may repeat.
type strictClient struct {
	load    *load
	patient bool // speaks TLS, and asks again as curl does
	conn    net.Conn
	in      *bufio.Reader
}

func (c *strictClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// request sends one request. Whoever is patient sends it again if a connection that it had used before has ended without a byte of an
// answer: over TLS an idle connection can be closed in the moment in which a request is sent.
func (c *strictClient) request() error {
	used := c.conn != nil
	err := c.try()
	var unanswered *unansweredError
	if used && c.patient && errors.As(err, &unanswered) {
		c.load.again.Add(1)
		err = c.try()
	}
	return err
}

// unansweredError says that the server has ended the connection and not a byte of an answer has come.
type unansweredError struct{ error }

func (e *unansweredError) Unwrap() error { return e.error }

func (c *strictClient) try() (err error) {
	last := true
	defer func() {
		if err != nil || last {
			c.close()
		}
	}()
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	// A POST with a body: nobody on the way may send it a second time.
	_, err = fmt.Fprintf(c.conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\n\r\nbody", c.load.host)
	if err == nil {
		_, err = c.in.Peek(1)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &unansweredError{fmt.Errorf("the connection has ended: %w", err)}
	}
	if err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	last = res.Close
	return c.load.check(res)
}

func (c *strictClient) dial() (err error) {
	dialer := &net.Dialer{Timeout: requestTime}
	if c.patient {
		c.conn, err = tls.DialWithDialer(dialer, "tcp", c.load.addr, c.load.trust())
	} else {
		c.conn, err = dialer.Dial("tcp", c.load.addr)
	}
	if err != nil {
		c.conn = nil // not one without a value
		return err
	}
	c.in = bufio.NewReader(c.conn)
	return nil
}

// trust is for a gateway whose authority nobody here knows.
func (l *load) trust() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: l.host}
}

// check reads an answer to its end.
func (l *load) check(res *http.Response) error {
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK || string(data) != l.body {
		return fmt.Errorf("answer %s %q", res.Status, data)
	}
	return nil
}

// usualClient is net/http's, over TLS.
type usualClient struct {
	load *load
	http *http.Client
}

func newUsualClient(l *load, http2 bool) *usualClient {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	return &usualClient{l, &http.Client{Timeout: requestTime, Transport: &http.Transport{
		Protocols: protocols, TLSClientConfig: l.trust(), MaxConnsPerHost: 1, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.addr)
		},
	}}}
}

func (c *usualClient) close() { c.http.CloseIdleConnections() }

// request sends one that the client may send again when it thinks that right, and counts how often it does.
func (c *usualClient) request() error {
	tries := int64(0)
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { tries++ }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.load.host+"/", nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(r)
	c.load.again.Add(max(tries-1, 0))
	if err != nil {
		return err
	}
	return c.load.check(res)
}

// kinds are the clients that there are.
var kinds = map[string]func(*load) requester{
	"http":  func(l *load) requester { return &strictClient{load: l} },
	"tls":   func(l *load) requester { return &strictClient{load: l, patient: true} },
	"https": func(l *load) requester { return newUsualClient(l, false) },
	"http2": func(l *load) requester { return newUsualClient(l, true) },
}
