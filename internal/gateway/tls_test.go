package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTLSWithLocalAuthority(t *testing.T) {
	g, plain := start(t, Config{HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: t.TempDir()}})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})})
	table := simple("h.localhost", Backend{Name: "b"})
	table.Routes[0].Redirect = RedirectToHTTPS
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(g.RootCertificate()) {
		t.Fatal("the root certificate cannot be read")
	}
	_, secure := g.Addrs()
	get := func(name string, protocols ...string) (*http.Response, error) {
		tr := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: protocols},
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dialTo(secure[0].String())(ctx) },
			Protocols:       new(http.Protocols),
		}
		tr.Protocols.SetHTTP1(true)
		tr.Protocols.SetHTTP2(len(protocols) > 0)
		defer tr.CloseIdleConnections()
		r, _ := http.NewRequest("GET", "https://"+name+"/", nil)
		res, err := tr.RoundTrip(r)
		if err == nil {
			data, _ := io.ReadAll(res.Body)
			if string(data) != "https" {
				t.Errorf("X-Forwarded-Proto %q", data)
			}
		}
		return res, err
	}
	if res, err := get("h.localhost", "h2"); err != nil || res.ProtoMajor != 2 {
		t.Errorf("HTTP/2 over TLS: %v, %v", res, err)
	}
	if res, err := get("h.localhost"); err != nil || res.ProtoMajor != 1 {
		t.Errorf("HTTP/1.1 over TLS: %v, %v", res, err)
	}
	if _, err := get("unknown.localhost"); err == nil {
		t.Error("a certificate was issued for a host in no route")
	}
	res, _ := ask(t, "GET", plain, "h.localhost", "/a?b=c")
	want := "https://h.localhost:" + strings.TrimPrefix(secure[0].String(), "127.0.0.1:") + "/a?b=c"
	if res.StatusCode != 301 || res.Header.Get("Location") != want {
		t.Errorf("redirect: %d to %q, want 301 to %q", res.StatusCode, res.Header.Get("Location"), want)
	}
}

func TestNoRedirectWithoutHTTPS(t *testing.T) {
	g, addr := start(t, Config{})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {})})
	table := simple("h.localhost", Backend{Name: "b"})
	table.Routes[0].Redirect = RedirectToHTTPS
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	if res, _ := ask(t, "GET", addr, "h.localhost", "/"); res.StatusCode != 200 {
		t.Errorf("got %d, want 200", res.StatusCode)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	a, err := openAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !a.cert.Equal(b.cert) {
		t.Error("the authority was made anew")
	}
	c, err := b.certificate("x.localhost", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: "x.localhost", Roots: roots}); err != nil {
		t.Error(err)
	}
	if again, _ := b.certificate("x.localhost", time.Now().Add(50*24*time.Hour)); again != c {
		t.Error("a certificate with time left was issued anew")
	}
	if again, _ := b.certificate("x.localhost", time.Now().Add(61*24*time.Hour)); again == c {
		t.Error("a certificate near its end was not renewed")
	}
}

func TestInternalTLS(t *testing.T) {
	g, _ := start(t, Config{HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: t.TempDir()}})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Fairlead-Caller")+" by "+r.Header.Get("X-Forwarded-Proto"))
	})})
	if err := g.Apply(simple("hello.default.svc.cluster.local", Backend{Name: "b"})); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.RootCertificate())
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			mine, theirs := net.Pipe()
			g.ServeInternal(theirs, Caller{Namespace: "shop", Service: "cart"})
			return mine, nil
		},
	}
	defer tr.CloseIdleConnections()
	for range 2 {
		r, _ := http.NewRequest("GET", "https://hello.default.svc.cluster.local/", nil)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := io.ReadAll(res.Body); string(data) != "shop/cart by https" {
			t.Errorf("got %q", data)
		}
	}
}

func TestUserCertificateComesFirst(t *testing.T) {
	dir := t.TempDir()
	g, _ := start(t, Config{HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: dir}})
	other, err := openAuthority(dir + "/other")
	if err != nil {
		t.Fatal(err)
	}
	exact, err := other.certificate("shop.example.com", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wild, err := other.certificate("*.example.com", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	table := simple("shop.example.com", Backend{Name: "b", Handler: http.NotFoundHandler()})
	table.Routes[0].Hosts = append(table.Routes[0].Hosts, "blog.example.com", "a.b.example.com")
	_, secure := g.Addrs()
	serial := func(name string) string {
		conn, err := tls.Dial("tcp", secure[0].String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		leaf := conn.ConnectionState().PeerCertificates[0]
		switch {
		case leaf.Equal(exact.Leaf):
			return "exact"
		case leaf.Equal(wild.Leaf):
			return "wild"
		case leaf.CheckSignatureFrom(g.certs.local.cert) == nil:
			return "local"
		}
		return "unknown"
	}
	for _, step := range []struct {
		given []tls.Certificate
		want  [3]string
	}{
		{nil, [3]string{"local", "local", "local"}},
		{[]tls.Certificate{*wild, *exact}, [3]string{"exact", "wild", "local"}},
		{[]tls.Certificate{*wild}, [3]string{"wild", "wild", "local"}},
	} {
		table.Certificates = step.given
		if err := g.Apply(table); err != nil {
			t.Fatal(err)
		}
		if got := [3]string{serial("shop.example.com"), serial("blog.example.com"), serial("a.b.example.com")}; got != step.want {
			t.Errorf("with %d certificates: %v, want %v", len(step.given), got, step.want)
		}
	}
	table.Certificates = []tls.Certificate{{Certificate: [][]byte{[]byte("nonsense")}}}
	if err := g.Apply(table); err == nil {
		t.Error("a certificate that cannot be read was taken")
	}
}

// TestACMEOnlyForPublicRoutes needs no authority: it holds that none is asked for names that only instances know.
func TestACMEOnlyForPublicRoutes(t *testing.T) {
	g, _ := start(t, Config{HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{
		Dir: t.TempDir(), ACME: &ACME{Email: "a@fairlead.dev", Directory: "https://127.0.0.1:1/"},
	}})
	table := simple("hello.fairlead.dev", Backend{Name: "b", Handler: http.NotFoundHandler()})
	inside := table.Routes[0]
	inside.Name, inside.Hosts, inside.Visibility = "inside", []string{"hello.default", "hello.default.svc"}, ClusterLocal
	table.Routes = append(table.Routes, inside)
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"hello.fairlead.dev": true, "other.fairlead.dev": false, "hello.default": false, "hello.default.svc": false, "localhost": false,
	} {
		if got := g.certs.public(name); got != want {
			t.Errorf("%s is public: %t, want %t", name, got, want)
		}
	}
	_, secure := g.Addrs()
	conn, err := tls.Dial("tcp", secure[0].String(), &tls.Config{ServerName: "hello.default.svc", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.ConnectionState().PeerCertificates[0].CheckSignatureFrom(g.certs.local.cert); err != nil {
		t.Errorf("the certificate for a name inside: %v", err)
	}
}
