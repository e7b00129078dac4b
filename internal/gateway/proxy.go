package gateway

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"
)

const (
	hashHeader  = "K-Network-Hash"
	probeHeader = "K-Network-Probe"
)

// forwarder lets the proxy send through the exchange that a request belongs to.
type forwarder struct{}

func (forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	return exchangeOf(r).roundTrip(r)
}

// buffers are what bodies are copied through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return p[:]
	}
	return new([32 << 10]byte)[:]
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }

func (g *Gateway) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      forwarder{},
		BufferPool:     &buffers{},
		ErrorHandler:   answerError,
		ModifyResponse: noteAnswer,
		FlushInterval:  50 * time.Millisecond, // of answers with a known length; others are flushed at each read
		ErrorLog:       log.New(io.Discard, "", 0),
	}
}

func (g *Gateway) newServer(connContext func(context.Context, net.Conn) context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           g,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers one request. The caller is the one of the connection's context, the outside if there is none.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(callerKey{}).(*Caller)
	if !ok {
		c = outside
	}
	if r.Method == http.MethodConnect {
		refuse(w, http.StatusMethodNotAllowed, "CONNECT is not served here")
		return
	}
	route := g.routes.Load().find(r.Host, c)
	switch {
	case route == nil:
		refuse(w, http.StatusNotFound, "no service has this host name")
		return
	case r.Header[probeHeader] != nil:
		answerProbe(w, r, route)
		return
	case !route.allows(c):
		refuse(w, http.StatusForbidden, "the service does not allow calls from "+c.name())
		return
	}
	rule := route.rule(r.URL.Path, r.Header)
	if rule == nil {
		refuse(w, http.StatusNotFound, "the service does not serve this path")
		return
	}
	split := rule.split(rand.IntN)
	x := &exchange{g: g, caller: c, route: route, rule: rule, split: split, backend: split.backend, spec: split.backend.spec.Load(), arrived: time.Now()}
	x.serve(w, r)
}

func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	if h := x.spec.Handler; h != nil {
		x.serveHere(w, r, h)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	x.cancel = cancel
	x.backend.enter(x.arrived)
	defer x.end()
	if d := x.spec.Timeout; d > 0 {
		x.after(d, errTimeout)
	}
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	if r.ContentLength != 0 {
		x.body = &requestBody{ReadCloser: r.Body}
		r.Body = x.body
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex() // the answer may begin before the body has ended
		}
	}
	x.g.proxy.ServeHTTP(w, r)
}

func (x *exchange) serveHere(w http.ResponseWriter, r *http.Request, h http.Handler) {
	r = r.Clone(r.Context())
	x.setHeaders(r, r)
	h.ServeHTTP(w, r)
}

func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In)
	p.Out.URL.Scheme = "http"
	p.Out.URL.Host = "instance"
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.Trailer = p.In.Trailer // filled while the body is read
	x.setHeaders(p.Out, p.In)
}

// setHeaders completes the headers that the instance sees.
func (x *exchange) setHeaders(out, in *http.Request) {
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	forwardHeaders(out.Header, in.Header, in.RemoteAddr, in.Host, proto)
	traceHeaders(out.Header)
	delete(out.Header, callerHeader)
	if x.caller.Service != "" {
		out.Header[callerHeader] = []string{x.caller.name()}
	}
	if x.rule.host != "" {
		out.Header["X-Forwarded-Host"] = []string{in.Host}
		out.Host = x.rule.host
	}
	for _, h := range x.rule.setHeaders {
		out.Header[h.name] = h.values
	}
	for _, h := range x.split.setHeaders {
		out.Header[h.name] = h.values
	}
}

func noteAnswer(res *http.Response) error {
	x := exchangeOf(res.Request)
	x.status = res.StatusCode
	return nil
}

// answerProbe answers a question about the configuration in force; it does not reach an instance.
func answerProbe(w http.ResponseWriter, r *http.Request, route *route) {
	w.Header().Set(hashHeader, route.Hash)
	w.WriteHeader(http.StatusOK)
}

// refuse answers with an error of the gateway's own.
func refuse(w http.ResponseWriter, status int, reason string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "fairlead: "+reason+"\n")
}

// answerError answers for an exchange that got no answer from an instance.
func answerError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	status, reason := verdict(x, r.Context(), err)
	x.status = status
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	refuse(w, status, reason)
}

// statusClientGone is recorded for a request whose client did not wait for the answer. Nobody reads it.
const statusClientGone = 499

// verdict turns what went wrong into a status and a sentence for the caller.
func verdict(x *exchange, ctx context.Context, err error) (int, string) {
	cause := err
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	var failed *failedError
	var dial *dialError
	var large *http.MaxBytesError
	switch {
	case errors.Is(cause, errTimeout), errors.Is(cause, errStartTimeout), errors.Is(cause, errIdleTimeout):
		return http.StatusGatewayTimeout, "request timeout"
	case errors.As(cause, &large):
		return http.StatusRequestEntityTooLarge, "the body is larger than allowed"
	case x.body != nil && x.body.failed.Load():
		return http.StatusBadRequest, "the body could not be read"
	case ctx.Err() != nil:
		return statusClientGone, "the client went away"
	case errors.Is(cause, errRoomFull):
		return http.StatusServiceUnavailable, errRoomFull.Error()
	case errors.As(cause, &failed):
		return http.StatusServiceUnavailable, failed.reason
	case errors.As(cause, &dial):
		return http.StatusBadGateway, "the instance does not accept connections"
	}
	return http.StatusBadGateway, "the instance gave no valid answer"
}
