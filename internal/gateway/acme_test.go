package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestACME gets certificates from Pebble, Let's Encrypt's ACME server for tests, named by FAIRLEAD_PEBBLE (make conformance-acme builds it).
func TestACME(t *testing.T) {
	program := os.Getenv("FAIRLEAD_PEBBLE")
	if program == "" {
		t.Skip("FAIRLEAD_PEBBLE names no pebble: run make conformance-acme")
	}
	dir := t.TempDir()
	plain, secure := listenLocal(t), listenLocal(t)
	directory, roots := runPebble(t, program, dir, port([]net.Listener{plain}), port([]net.Listener{secure}))
	cfg := Config{
		HTTPListeners: []net.Listener{plain}, HTTPSListeners: []net.Listener{secure}, HTTP: []string{},
		TLS: TLS{Dir: filepath.Join(dir, "tls"), ACME: &ACME{Email: "a@fairlead.dev", Directory: directory, Roots: roots}},
	}
	g, addr := start(t, cfg)
	table := simple("hello.fairlead.dev", Backend{Name: "b", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })})
	table.Routes[0].Redirect = RedirectToHTTPS
	table.Routes[0].Hosts = append(table.Routes[0].Hosts, "handshake.fairlead.dev", "local.localhost")
	if err := g.Apply(table); err != nil {
		t.Fatal(err)
	}
	issuer := func(name string) string {
		conn, err := tls.Dial("tcp", secure.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	// No certificate yet: no redirect, but one is got.
	if res, _ := ask(t, "GET", addr, "hello.fairlead.dev", "/"); res.StatusCode != 200 {
		t.Errorf("without a certificate a plain request got %d", res.StatusCode)
	}
	waitFor(t, "the redirect", func() bool {
		res, _ := ask(t, "GET", addr, "hello.fairlead.dev", "/")
		return res.StatusCode == 301
	})
	for _, name := range []string{"hello.fairlead.dev", "handshake.fairlead.dev"} {
		if got := issuer(name); len(got) < 6 || got[:6] != "Pebble" {
			t.Errorf("the certificate for %s is from %q", name, got)
		}
	}
	if got := issuer("unknown.fairlead.dev"); got[:6] == "Pebble" {
		t.Error("a certificate was got for a host in no route")
	}
	if got := issuer("local.localhost"); got != g.certs.local.cert.Subject.CommonName {
		t.Errorf("the certificate for a local name is from %q", got)
	}
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runPebble starts pebble on free ports, with a name server for which every name is this machine.
func runPebble(t *testing.T, program, dir string, httpPort, tlsPort int) (directory string, roots *x509.CertPool) {
	t.Helper()
	a, err := openAuthority(filepath.Join(dir, "pebble"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.certificate("127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	free := func() string {
		l := listenLocal(t)
		defer l.Close()
		return l.Addr().String()
	}
	listen, management := free(), free()
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": write("cert.pem", "CERTIFICATE", leaf.Certificate[0]), "privateKey": write("key.pem", "PRIVATE KEY", key),
		"httpPort": httpPort, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa",
	}})
	if err != nil {
		t.Fatal(err)
	}
	configFile := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(configFile, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-config", configFile, "-dnsserver", nameServer(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out := &limitedLog{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pebble: %s", out.data)
		}
	})
	roots = x509.NewCertPool()
	roots.AddCert(a.cert)
	waitFor(t, "pebble", func() bool {
		conn, err := tls.Dial("tcp", listen, &tls.Config{RootCAs: roots})
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return fmt.Sprintf("https://%s/dir", listen), roots
}

// limitedLog keeps the beginning of what a program says. Its one writer is the program's pipe.
type limitedLog struct{ data []byte }

func (l *limitedLog) Write(p []byte) (int, error) {
	if len(l.data) < 16<<10 {
		l.data = append(l.data, p...)
	}
	return len(p), nil
}

// nameServer answers every question for an address with 127.0.0.1. Pebble asks by TCP.
func nameServer(t *testing.T) string {
	t.Helper()
	l := listenLocal(t)
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	go srv.ActivateAndServe()
	t.Cleanup(func() { _ = srv.Shutdown() })
	return l.Addr().String()
}
