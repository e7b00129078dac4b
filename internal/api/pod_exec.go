package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/proxy"
)

// podExec serves pods/exec and podAttach pods/attach.
type (
	podExec   struct{ podDoor }
	podAttach struct{ podDoor }
)

var (
	_ rest.Connecter = (*podExec)(nil)
	_ rest.Connecter = (*podAttach)(nil)
)

// NewConnectOptions are the query parameters.
func (*podExec) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

// ConnectMethods are POST for SPDY and GET for WebSocket.
func (*podExec) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect runs a command in a container.
func (e *podExec) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	asked, ok := options.(*corev1.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("api: exec options are a %T", options)
	}
	if err := e.mayCreate(ctx, name, "exec"); err != nil {
		return nil, err
	}
	return e.connect(ctx, name, terminal{path: "exec", container: asked.Container, command: asked.Command, stdin: asked.Stdin, stdout: asked.Stdout, stderr: asked.Stderr, tty: asked.TTY})
}

// NewConnectOptions are the query parameters.
func (*podAttach) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodAttachOptions{}, false, ""
}

// ConnectMethods are POST for SPDY and GET for WebSocket.
func (*podAttach) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect connects to the streams of the process that runs in a container.
func (a *podAttach) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	asked, ok := options.(*corev1.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("api: attach options are a %T", options)
	}
	if err := a.mayCreate(ctx, name, "attach"); err != nil {
		return nil, err
	}
	return a.connect(ctx, name, terminal{path: "attach", container: asked.Container, stdin: asked.Stdin, stdout: asked.Stdout, stderr: asked.Stderr, tty: asked.TTY})
}

// terminal is what exec and attach ask for.
type terminal struct {
	path                       string
	container                  string
	command                    []string
	stdin, stdout, stderr, tty bool
}

// connect serves SPDY and the older WebSocket protocols itself; the present one is translated to SPDY by upstream's
// translator, which wants an address to talk to.
func (d podDoor) connect(ctx context.Context, name string, t terminal) (http.Handler, error) {
	pod, err := d.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if t.container, err = container(pod, t.container); err != nil {
		return nil, err
	}
	location := &url.URL{Scheme: "http", Host: "streams", Path: "/" + t.path + "/" + pod.Namespace + "/" + pod.Name, RawQuery: t.query().Encode()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
			options := proxy.Options{Stdin: t.stdin, Stdout: t.stdout, Stderr: t.stderr && !t.tty, Tty: t.tty}
			w, r, gone := untilGone(w, r)
			defer gone()
			proxy.NewStreamTranslatorHandler(location, d.streams.transport, 0, options).ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.URL = location
		d.streams.ServeHTTP(w, r)
	}), nil
}

// query are the parameters that the streams' server reads; they differ from those of the API.
func (t terminal) query() url.Values {
	q := url.Values{"container": {t.container}}
	for _, c := range t.command {
		q.Add("command", c)
	}
	for name, on := range map[string]bool{"input": t.stdin, "output": t.stdout, "error": t.stderr && !t.tty, "tty": t.tty} {
		if on {
			q.Set(name, "1")
		}
	}
	return q
}
