package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// breaking is an API that lets its first connection for a method and a part of a path break off within the answer, as a daemon does that is killed.
func breaking(t *testing.T, method, part string, then http.HandlerFunc) *client {
	t.Helper()
	var broken atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.Contains(r.URL.Path, part) && !broken.Swap(true) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		then(w, r)
	}))
	t.Cleanup(server.Close)
	return clientTo(t, server.URL)
}

func clientTo(t *testing.T, url string) *client {
	t.Helper()
	c, err := newClient(&rest.Config{Host: url})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFollowBeginsAgain: logs are followed although a connection breaks off when that begins.
func TestFollowBeginsAgain(t *testing.T) {
	for _, c := range []struct {
		part    string
		history bool
	}{{"/ended", false}, {"/ended", true}} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var watched atomic.Bool
		api := breaking(t, http.MethodGet, c.part, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch {
			case r.URL.Query().Has("watch"):
				watched.Store(true)
				cancel()
			default:
				fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}`)
			}
		})
		err := api.followLogs(ctx, logQuery{namespace: "default", past: []string{"app"}, history: c.history}, io.Discard)
		if err != nil || !watched.Load() {
			t.Errorf("history %t: %v, instances were waited for: %t", c.history, err, watched.Load())
		}
	}
}

// TestRemoveAgain: the service of a run is deleted although the connection breaks off, and it is said what becomes of it where the daemon is gone.
func TestRemoveAgain(t *testing.T) {
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app", UID: "u"}}
	remove := func(c *client) string {
		var said bytes.Buffer
		r := &runner{term: &terminal{out: io.Discard, err: &said}}
		r.remove(t.Context(), &session{client: c}, service)
		return said.String()
	}
	c := breaking(t, http.MethodDelete, "/services/app", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	})
	if said := remove(c); said != "Deleted service app\n" {
		t.Errorf("after a broken connection it says %q", said)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if said := remove(clientTo(t, "http://"+l.Addr().String())); !strings.Contains(said, "the daemon is gone: service app comes back with it") {
		t.Errorf("without a daemon it says %q", said)
	}
}

// TestAdviceOnBrokenConnections: whatever way a connection ends, the advice is to look whether there is a daemon.
func TestAdviceOnBrokenConnections(t *testing.T) {
	for _, end := range []error{syscall.ECONNREFUSED, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, io.EOF, fmt.Errorf("reading: %w", io.ErrUnexpectedEOF)} {
		if got := advice("fairlead logs", fmt.Errorf("follow the logs: %w", end)); !strings.Contains(got, "fairlead serve") {
			t.Errorf("%v: try: %s", end, got)
		}
	}
}

// TestAdviceByWords: what only the text of an error tells, or the kind of one deep in it.
func TestAdviceByWords(t *testing.T) {
	for _, tt := range []struct {
		err  error
		says string
	}{
		{errors.New("push x: PATCH y: DENIED: upload to x after 5 bytes: write z: no space left on device"), "image prune"},
		{fmt.Errorf("the API is not ready: %w", &url.Error{Op: "Get", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}), "--home"},
	} {
		if got := advice("fairlead deploy", tt.err); !strings.Contains(got, tt.says) {
			t.Errorf("%v: try: %s", tt.err, got)
		}
	}
}
