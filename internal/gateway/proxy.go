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

// forwarder lets httputil.ReverseProxy send through the exchange that a request belongs to.
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

// newUpgrader makes what carries requests that may become connections, and connections then.
func (g *Gateway) newUpgrader() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    rewrite,
		Transport:  forwarder{},
		BufferPool: &g.buffers,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			exchangeOf(r).answerError(r.Context(), w, err)
		},
		ModifyResponse: func(res *http.Response) error {
			exchangeOf(res.Request).noteAnswer(res, res.Header)
			return nil
		},
		FlushInterval: 50 * time.Millisecond, // of answers with a known length; others are flushed at each read
		ErrorLog:      log.New(io.Discard, "", 0),
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
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, WriteByteTimeout: time.Minute},
		ReadHeaderTimeout: g.cfg.HeaderTimeout,
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
	g.noteEnd(w.Header())
	if r.Method == http.MethodConnect {
		g.refuse(w, connectMethod)
		return
	}
	for g.serve(w, r, c) {
	}
}

// noteEnd asks the client to open a new connection, at the end of this gateway.
func (g *Gateway) noteEnd(answer http.Header) {
	if g.leaving.Load() {
		answer["Connection"] = []string{"close"}
	}
}

// serve answers by the table in force, or says that it must be asked again because the table has changed meanwhile.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, c *Caller) (again bool) {
	rs := g.routes.Load()
	if r.TLS == nil && g.certs != nil && g.certs.http != nil && g.certs.http.HandleHTTPChallenge(w, r) {
		return false
	}
	route := rs.find(r.Host, c)
	switch {
	case route == nil:
		g.refuse(w, unknownHost)
		return false
	case r.Header[probeHeader] != nil:
		answerProbe(w, r, route)
		return false
	case route.Redirect != RedirectNever && c.host == "" && g.redirect(w, r, route, rs, c):
		return false
	}
	x := &exchange{g: g, caller: c, in: r, arrived: time.Now()}
	if f := x.choose(route); f != "" {
		g.refuse(w, f)
		return false
	}
	if x.noticed(route) {
		showNotice(w, route.Notice)
		return false
	}
	if h := x.spec.Handler; h != nil {
		x.serveHere(w, r, h)
		return false
	}
	instance, ok := x.backend.arrive(x.arrived)
	if !ok {
		return true
	}
	x.instance = instance
	x.proxy(w, r, rs)
	return false
}

// choose finds the backend for the request by a route, or says why there is none.
func (x *exchange) choose(route *route) refusal {
	if !allows(route.AllowFrom, x.caller) {
		return forbidden
	}
	x.rule = route.rule(x.in.URL.Path, x.in.Header)
	if x.rule == nil {
		return unknownPath
	}
	if !allows(x.rule.allowFrom, x.caller) {
		return forbidden
	}
	x.split = x.rule.split(rand.IntN)
	x.backend = x.split.backend
	x.spec = x.backend.spec.Load()
	return ""
}

func (x *exchange) proxy(w http.ResponseWriter, r *http.Request, rs *routes) {
	ctx, cancel := context.WithCancelCause(r.Context())
	x.cancel = cancel
	x.timing = r.Header[serverTimingHeader] != nil
	x.browser = !x.spec.NoWakingPage && browses(r)
	x.logged = rs.requestLog != nil && x.g.cfg.RequestLog != nil
	defer x.end()
	if x.logged {
		defer x.writeLog(rs.requestLog, r)
	}
	if d := x.spec.Timeout; d > 0 {
		x.after(d, errTimeout)
	}
	if r.ContentLength != 0 {
		x.body = &requestBody{ReadCloser: r.Body}
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex() // the answer may begin before the body has ended
		}
	}
	delete(w.Header(), "Connection") // noteEnd is asked again when the answer is there
	w.Header()["Content-Type"] = nil // an answer without one is not to be given one by guessing
	if x.upgrades = upgrades(r.Header); !x.upgrades {
		x.relay(ctx, w)
		return
	}
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	if x.body != nil {
		r.Body = x.body
	}
	x.g.upgrader.ServeHTTP(w, r)
}

// serveHere lets a handler of this process answer.
func (x *exchange) serveHere(w http.ResponseWriter, r *http.Request, h http.Handler) {
	x.backend.begin(x.arrived)
	noted := &statusWriter{ResponseWriter: w, x: x}
	defer func() {
		now := time.Now()
		x.backend.leave(nil, now)
		x.g.metrics.done(x, now)
	}()
	r = r.Clone(r.Context())
	x.setHeaders(r, r)
	h.ServeHTTP(noted, r)
	if x.status == 0 {
		x.status = http.StatusOK
	}
}

// statusWriter notes the status of an answer that is made in this process.
type statusWriter struct {
	http.ResponseWriter
	x *exchange
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 && w.x.status == 0 {
		w.x.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
	if in.TLS != nil || x.caller.secure {
		proto = "https"
	}
	forwardHeaders(out.Header, in.Header, in.RemoteAddr, in.Host, proto)
	x.parent = traceHeaders(out.Header)
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

// noteAnswer completes an answer, whose header is to be h.
func (x *exchange) noteAnswer(res *http.Response, h http.Header) {
	x.status = res.StatusCode
	if res.StatusCode == http.StatusSwitchingProtocols {
		return
	}
	x.g.noteEnd(h)
	if x.logged {
		res.Body = &countedBody{res.Body, x}
	}
}

// answerProbe answers a question about the configuration in force; it does not reach an instance.
func answerProbe(w http.ResponseWriter, r *http.Request, route *route) {
	w.Header().Set(hashHeader, route.Hash)
	w.WriteHeader(http.StatusOK)
	if name := r.Header.Get(probeHeader); name == "activator" || name == "queue" {
		_, _ = io.WriteString(w, name) // what Knative's components of these names answer
	}
}

// refusal is why the gateway does not pass a request on, as a label of the metric.
type refusal string

const (
	unknownHost   refusal = "unknown_host"
	unknownPath   refusal = "unknown_path"
	forbidden     refusal = "forbidden"
	connectMethod refusal = "connect"
)

func (f refusal) status() int {
	switch f {
	case forbidden:
		return http.StatusForbidden
	case connectMethod:
		return http.StatusMethodNotAllowed
	}
	return http.StatusNotFound
}

func (f refusal) sentence() string {
	switch f {
	case forbidden:
		return "the service does not allow calls from here"
	case connectMethod:
		return "CONNECT is not served here"
	case unknownPath:
		return "the service does not serve this path"
	}
	return "no service has this host name"
}

func (g *Gateway) refuse(w http.ResponseWriter, f refusal) {
	g.metrics.refused.WithLabelValues(string(f)).Inc()
	answer(w, f.status(), f.sentence())
}

// answer writes an answer of the gateway's own.
func answer(w http.ResponseWriter, status int, sentence string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "fairlead: "+sentence+"\n")
}

// answerError answers for an exchange that got no answer from an instance.
func (x *exchange) answerError(ctx context.Context, w http.ResponseWriter, err error) {
	x.g.noteEnd(w.Header())
	if errors.Is(context.Cause(ctx), errWaking) {
		x.status = http.StatusServiceUnavailable
		showWaking(w)
		return
	}
	status, reason := verdict(ctx, x, err)
	x.status = status
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	answer(w, status, reason)
}

// statusClientGone is recorded for a request whose client did not wait for the answer. Nobody reads it.
const statusClientGone = 499

// verdict turns what went wrong into a status and a sentence for the caller.
func verdict(ctx context.Context, x *exchange, err error) (int, string) {
	cause := err
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	var failed *failedError
	var dial *dialError
	var refused *refusedError
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
	case errors.As(cause, &refused):
		return refused.status(), refused.sentence()
	case errors.Is(cause, errRoomFull):
		return http.StatusServiceUnavailable, errRoomFull.Error()
	case errors.As(cause, &failed):
		return http.StatusServiceUnavailable, failed.reason
	case errors.As(cause, &dial):
		return http.StatusBadGateway, "the instance does not accept connections"
	}
	return http.StatusBadGateway, "the instance gave no valid answer"
}
