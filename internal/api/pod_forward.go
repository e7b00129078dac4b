package api

import (
	"context"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	machineryproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/proxy"
)

// podForward serves pods/portforward.
type podForward struct{ podDoor }

var _ rest.Connecter = (*podForward)(nil)

// NewConnectOptions are the query parameters.
func (*podForward) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

// ConnectMethods are POST for SPDY and GET for WebSocket.
func (*podForward) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect carries connections to ports inside a pod.
func (f *podForward) Connect(ctx context.Context, name string, _ runtime.Object, responder rest.Responder) (http.Handler, error) {
	if err := f.mayCreate(ctx, name, "portforward"); err != nil {
		return nil, err
	}
	pod, err := f.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	path := "/portforward/" + pod.Namespace + "/" + pod.Name
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		location := &url.URL{Scheme: "http", Host: "streams", Path: path, RawQuery: r.URL.RawQuery}
		if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
			upgrade := machineryproxy.NewUpgradeAwareHandler(location, f.streams.transport, false, true, errorResponder{responder})
			proxy.NewTunnelingHandler(upgrade).ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.URL = location
		f.streams.ServeHTTP(w, r)
	}), nil
}

// errorResponder answers with an error of the API.
type errorResponder struct{ rest.Responder }

func (e errorResponder) Error(_ http.ResponseWriter, _ *http.Request, err error) {
	e.Responder.Error(err)
}
