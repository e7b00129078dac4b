package gateway

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// hopByHop says whether a header is about one connection (RFC 9110, section 7.6.1), whatever Connection names.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// endToEnd says whether a header goes on to the next one.
func endToEnd(name string, h http.Header) bool {
	if hopByHop(name) {
		return false
	}
	for _, list := range h["Connection"] {
		for named := range strings.SplitSeq(list, ",") {
			if named = textproto.TrimString(named); named != "" && textproto.CanonicalMIMEHeaderKey(named) == name {
				return false
			}
		}
	}
	return true
}

// rewritten are the headers that forwardHeaders makes anew.
func rewritten(name string) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto":
		return true
	}
	return false
}

// upgrades says that a request asks for another protocol.
func upgrades(h http.Header) bool {
	return h["Upgrade"] != nil && httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade")
}

// outgoing is the request that the instance gets. It shares values of headers with the one that came, which nobody changes.
func (x *exchange) outgoing(ctx context.Context) *http.Request {
	in := x.in
	out := in.WithContext(ctx)
	x.target = *in.URL
	x.target.Scheme, x.target.Host = "http", "instance"
	out.URL = &x.target
	out.Close = false
	out.Body = nil
	if x.body != nil {
		out.Body = x.body
	}
	out.Header = make(http.Header, len(in.Header)+4)
	for name, values := range in.Header {
		if !rewritten(name) && endToEnd(name, in.Header) {
			out.Header[name] = values
		}
	}
	if httpguts.HeaderValuesContainsToken(in.Header["Te"], "trailers") {
		out.Header["Te"] = []string{"trailers"}
	}
	x.setHeaders(out, in)
	return out
}

// relay carries a request to an instance and the answer to the client. It is what httputil.ReverseProxy does, which is left to those requests
// that may become something else than an answer.
func (x *exchange) relay(ctx context.Context, w http.ResponseWriter) {
	out := x.outgoing(ctx)
	x.early.w = w
	res, err := x.roundTrip(out)
	x.early.end()
	if err != nil {
		x.answerError(ctx, w, err)
		return
	}
	h := w.Header()
	for name, values := range res.Header {
		if endToEnd(name, res.Header) {
			h[name] = values
		}
	}
	x.noteAnswer(res, h)
	announced := len(res.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(trailerNames(res.Trailer), ", ")}
	}
	w.WriteHeader(res.StatusCode)
	if err := x.copyBody(w, res); err != nil {
		res.Body.Close()
		panic(http.ErrAbortHandler) // an answer that was cut must not look as if it were whole
	}
	res.Body.Close() // after which the trailers are there
	sendTrailers(w, res.Trailer, announced)
}

// copyBody copies the body of an answer. What has come is with the client before anything more is waited for.
func (x *exchange) copyBody(w http.ResponseWriter, res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	buf := x.g.buffers.Get()
	defer x.g.buffers.Put(buf)
	for first := true; ; first = false {
		if res.ContentLength != 0 && (x.transfer == nil || !x.transfer.ready(first)) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// sendTrailers hands on the trailers of an answer, those that were announced and those that were not.
func sendTrailers(w http.ResponseWriter, trailers http.Header, announced int) {
	if len(trailers) == 0 {
		return
	}
	_ = http.NewResponseController(w).Flush() // so that the server sends chunks; what is wrong with the client shows elsewhere
	prefix := ""
	if len(trailers) != announced {
		prefix = http.TrailerPrefix
	}
	h := w.Header()
	for name, values := range trailers {
		h[prefix+name] = append(h[prefix+name], values...)
	}
}

// earlyAnswers hands interim answers to a client, until the answer is there.
type earlyAnswers struct {
	mu   sync.Mutex // net/http may tell of one late
	w    http.ResponseWriter
	over bool
}

func (e *earlyAnswers) hand(status int, from http.Header) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	h := e.w.Header()
	for name, values := range from {
		if endToEnd(name, from) {
			h[name] = values
		}
	}
	e.w.WriteHeader(status)
	clear(h)
	h["Content-Type"] = nil
}

func (e *earlyAnswers) end() {
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
}
