package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// check asks once. nil is success.
func (p *Probe) check(ctx context.Context, i *Instance, container string) error {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	switch {
	case p.HTTP != nil:
		return p.HTTP.check(ctx, i)
	case p.TCP != nil:
		conn, err := i.m.dialer.Dial(ctx, i.sockets.Namespace, p.TCP.Port)
		if err != nil {
			return err
		}
		return conn.Close()
	case p.GRPC != nil:
		return p.GRPC.check(ctx, i)
	default:
		return i.probeExec(ctx, container, p.Exec)
	}
}

func (p *HTTPProbe) check(ctx context.Context, i *Instance) error {
	scheme := "http"
	if p.TLS {
		scheme = "https"
	}
	path, query, _ := cutQuery(p.Path)
	target := url.URL{Scheme: scheme, Host: net.JoinHostPort(netns.Self().String(), strconv.Itoa(int(p.Port))), Path: path, RawQuery: query}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/1.32") // apps and frameworks know probes by this name
	req.Header.Set("Accept", "*/*")
	for _, h := range p.Headers {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	if p.Host != "" {
		req.Host = p.Host
	}
	transport := p.transport(i)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 10<<10); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe of port %d answered with status code: %d", p.Port, resp.StatusCode)
	}
	return nil
}

func cutQuery(path string) (string, string, error) {
	u, err := url.Parse(path)
	if err != nil || path == "" {
		return "/" + path, "", err
	}
	return u.Path, u.RawQuery, nil
}

func (p *HTTPProbe) transport(i *Instance) *http.Transport {
	t := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as a kubelet: the probe asks for life, not for identity
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := i.m.dialer.Dial(ctx, i.sockets.Namespace, p.Port)
			if err != nil {
				return nil, err // not a nil *net.TCPConn in an interface
			}
			return conn, nil
		},
	}
	if p.H2C {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

func (p *GRPCProbe) check(ctx context.Context, i *Instance) error {
	conn, err := grpc.NewClient("passthrough:///instance",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := i.m.dialer.Dial(ctx, i.sockets.Namespace, p.Port)
			if err != nil {
				return nil, err
			}
			return conn, nil
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: p.Service})
	if err != nil {
		return fmt.Errorf("gRPC probe of port %d: %w", p.Port, err)
	}
	if s := resp.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC probe of port %d says %s", p.Port, s)
	}
	return nil
}
