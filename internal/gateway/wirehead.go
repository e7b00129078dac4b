package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// appendHead writes the head of a request (RFC 9112, sections 2 and 3). What could be read as anything else than one head is refused.
func appendHead(b []byte, r *http.Request) ([]byte, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	target, host := r.URL.RequestURI(), r.Host
	if host == "" {
		host = r.URL.Host
	}
	if !httpguts.ValidHeaderFieldName(method) || !printable(target) || !httpguts.ValidHostHeader(host) {
		return nil, fmt.Errorf("request %q %q for host %q cannot be sent", method, target, host)
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, withoutZone(host)...)
	b = append(b, "\r\n"...)
	b = appendFraming(b, r, method)
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		case "User-Agent":
			if len(values) == 0 || values[0] == "" {
				continue
			}
			values = values[:1]
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("header name %q cannot be sent", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("value %q of header %s cannot be sent", v, name)
			}
			b = appendField(b, name, v)
		}
	}
	return append(b, "\r\n"...), nil
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, textproto.TrimString(value)...)
	return append(b, "\r\n"...)
}

// appendFraming says where the body of a request ends.
func appendFraming(b []byte, r *http.Request, method string) []byte {
	switch {
	case r.Body == nil:
		if method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
			return append(b, "Content-Length: 0\r\n"...) // many servers expect one
		}
		return b
	case r.ContentLength >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		return append(b, "\r\n"...)
	}
	b = append(b, "Transfer-Encoding: chunked\r\n"...)
	if names := trailerNames(r.Trailer); len(names) > 0 {
		b = appendField(b, "Trailer", strings.Join(names, ","))
	}
	return b
}

// trailerNames are those of the trailers that may be sent, in order.
func trailerNames(h http.Header) []string {
	var names []string
	for name := range h {
		if httpguts.ValidTrailerHeader(name) && httpguts.ValidHeaderFieldName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// printable says whether a target can stand in a request line.
func printable(s string) bool {
	for n := range len(s) {
		if s[n] <= ' ' || s[n] == 0x7f {
			return false
		}
	}
	return s != ""
}

// withoutZone takes the zone, which means something on this machine only, off the address of a host.
func withoutZone(host string) string {
	if host == "" || host[0] != '[' {
		return host
	}
	end := strings.IndexByte(host, ']')
	if zone := strings.IndexByte(host, '%'); zone >= 0 && zone < end {
		return host[:zone] + host[end:]
	}
	return host
}

// unreadError says that the body of a request could not be read: its sender's fault, not the instance's.
type unreadError struct{ err error }

func (e *unreadError) Error() string { return "reading the body of the request: " + e.err.Error() }
func (e *unreadError) Unwrap() error { return e.err }

// sendBody sends the body of a request. If that cannot be read, whoever waits for an answer is woken.
func (t *transfer) sendBody(out *http.Request) {
	buf := t.c.wire.buffers.Get()
	defer t.c.wire.buffers.Put(buf)
	var err error
	if out.ContentLength >= 0 {
		err = t.c.sendPlain(out, buf)
	} else {
		err = t.c.sendChunked(out, buf)
	}
	t.sent <- err
	var unread *unreadError
	if errors.As(err, &unread) {
		t.c.interrupt()
	}
}

func (c *wireConn) sendPlain(out *http.Request, buf []byte) error {
	left := out.ContentLength
	for left > 0 {
		n, err := out.Body.Read(buf[:min(left, int64(len(buf)))])
		left -= int64(n)
		if n > 0 {
			if _, err := c.nc.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF && left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return &unreadError{err}
		}
	}
	return nil
}

// chunkRoom is what the size of a chunk takes before it.
const chunkRoom = len("8000\r\n")

func (c *wireConn) sendChunked(out *http.Request, buf []byte) error {
	for {
		n, err := out.Body.Read(buf[chunkRoom : len(buf)-2])
		if n > 0 {
			size := strconv.FormatInt(int64(n), 16) + "\r\n"
			from := chunkRoom - len(size)
			copy(buf[from:], size)
			copy(buf[chunkRoom+n:], "\r\n")
			if _, err := c.nc.Write(buf[from : chunkRoom+n+2]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &unreadError{err}
		}
	}
	end := append(buf[:0], "0\r\n"...)
	for _, name := range trailerNames(out.Trailer) { // complete since the body has been read
		for _, v := range out.Trailer[name] {
			if !httpguts.ValidHeaderFieldValue(v) {
				return &unreadError{fmt.Errorf("value %q of trailer %s cannot be sent", v, name)}
			}
			end = appendField(end, name, v)
		}
	}
	_, err := c.nc.Write(append(end, "\r\n"...))
	return err
}
