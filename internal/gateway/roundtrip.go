package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// RoundTripper sends requests through the gateway without a socket: the same routes, waiting room and limits as for everybody, as the
// given caller; a caller without a Service is this program itself, to whom no allow-from applies. Only the host and path of
// a request's URL matter. Upgrades are not served. It is safe for concurrent use and works before Run and after it.
func (g *Gateway) RoundTripper(c Caller) http.RoundTripper {
	c.Internal, c.trusted = true, c.Service == ""
	return &inProcess{g: g, caller: &c}
}

type inProcess struct {
	g      *Gateway
	caller *Caller
}

// noServer stands for the server in the context of requests without one; the proxy then reports a broken answer by a panic, as it does
// under a real server.
var noServer = new(http.Server)

func (p *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || (r.Host == "" && r.URL.Host == "") {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errors.New("sending a request through the gateway: it has no host")
	}
	ctx, cancel := context.WithCancel(r.Context())
	w := newMemoryWriter(cancel)
	in := p.arrive(context.WithValue(context.WithValue(ctx, callerKey{}, p.caller), http.ServerContextKey, noServer), r)
	// Whoever has given up reads no more: the handler must not wait for that. After an orderly end this changes nothing.
	context.AfterFunc(ctx, func() { _ = w.out.CloseWithError(context.Cause(ctx)) })
	go w.run(p.g, in)
	return w.wait(ctx, r)
}

// arrive makes a client's request look as it does to a server.
func (p *inProcess) arrive(ctx context.Context, r *http.Request) *http.Request {
	in := r.Clone(ctx)
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery, Opaque: r.URL.Opaque}
	if in.URL.Path == "" && in.URL.Opaque == "" {
		in.URL.Path = "/"
	}
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	if in.Body == nil {
		in.Body, in.ContentLength = http.NoBody, 0
	}
	in.RequestURI = in.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	return in
}

// memoryWriter is the server's end of an answer that is read in the same process.
type memoryWriter struct {
	header http.Header
	began  chan struct{} // closed when status and sent are set
	status int
	sent   http.Header
	out    *io.PipeWriter
	body   *memoryBody

	once sync.Once
}

// memoryBody is the client's end.
type memoryBody struct {
	*io.PipeReader
	cancel  context.CancelFunc
	trailer http.Header // filled before the end is seen
}

func (b *memoryBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

func newMemoryWriter(cancel context.CancelFunc) *memoryWriter {
	pr, pw := io.Pipe()
	return &memoryWriter{
		header: http.Header{}, began: make(chan struct{}), out: pw,
		body: &memoryBody{PipeReader: pr, cancel: cancel, trailer: http.Header{}},
	}
}

// run answers the request; it ends when the handler does, which the end of the request's context brings about.
func (w *memoryWriter) run(h http.Handler, r *http.Request) {
	defer w.body.cancel()
	defer r.Body.Close()
	defer func() {
		if p := recover(); p != nil {
			w.WriteHeader(http.StatusBadGateway)
			w.out.CloseWithError(io.ErrUnexpectedEOF)
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
		}
	}()
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	w.collectTrailers()
	_ = w.out.Close()
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	if status < 200 {
		return
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		for _, names := range w.sent["Trailer"] {
			for name := range strings.SplitSeq(names, ",") {
				w.body.trailer[http.CanonicalHeaderKey(strings.TrimSpace(name))] = nil
			}
		}
		w.sent.Del("Trailer")
		close(w.began)
	})
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

func (w *memoryWriter) Flush() { w.WriteHeader(http.StatusOK) }

func (w *memoryWriter) collectTrailers() {
	for name, values := range w.header {
		if plain, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.body.trailer[http.CanonicalHeaderKey(plain)] = values
		} else if _, announced := w.body.trailer[name]; announced {
			w.body.trailer[name] = values
		}
	}
}

// wait gives the answer once it has begun, or the reason why r's sender has given up. The handler's end ends ctx as well, at once where
// the answer has no body: what has been answered by then counts.
func (w *memoryWriter) wait(ctx context.Context, r *http.Request) (*http.Response, error) {
	select {
	case <-w.began:
	case <-ctx.Done():
	}
	if r.Context().Err() != nil { // what a handler says to somebody who has left is not an answer
		return nil, context.Cause(r.Context())
	}
	<-w.began
	return w.response(r), nil
}

func (w *memoryWriter) response(r *http.Request) *http.Response {
	res := &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: w.body, ContentLength: -1, Trailer: w.body.trailer, Request: r,
	}
	if n, ok := contentLength(w.sent); ok {
		res.ContentLength = n
	}
	return res
}
