package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// TLS says where certificates come from: the user's of the table first, then ACME for public names where it is configured, then the
// authority of this machine.
type TLS struct {
	// Dir is where the authority of this machine and the ACME account and certificates are kept; the gateway is its only owner. The
	// root certificate to trust is in ca.crt there.
	Dir string
	// ACME, when set, gets certificates for public host names from a certificate authority.
	ACME *ACME
	// PublicPort is the port of HTTPS as clients see it, for redirects; 0 means that of the first HTTPS listener.
	PublicPort int
}

// ACME is an account with a certificate authority that speaks RFC 8555, such as Let's Encrypt.
type ACME struct {
	// Email for the account; the authority writes there when something is wrong. By using ACME its terms are agreed to.
	Email string
	// Directory is the address of the authority's directory; empty means Let's Encrypt.
	Directory string
	// Roots to trust when talking to the authority; nil means the system's.
	Roots *x509.CertPool
	// HTTPPort and TLSPort are where the authority's challenges for ports 80 and 443 arrive; 0 means the ports of the first HTTP and HTTPS
	// listener.
	HTTPPort, TLSPort int
}

// certificates finds a certificate for a handshake.
type certificates struct {
	log   *slog.Logger
	local *authority
	acme  *certmagic.Config
	http  *certmagic.ACMEIssuer // answers challenges that come by HTTP
	cache *certmagic.Cache
	table func(host string) *route // the route of a host, nil if there is none

	ctx     context.Context // ends with the gateway; there is no other scope for what goes on after a handshake
	cancel  context.CancelFunc
	mu      sync.Mutex
	fetches map[string]bool // names that a certificate is being asked for
	running sync.WaitGroup
}

func newCertificates(cfg TLS, log *slog.Logger, table func(string) *route) (*certificates, error) {
	local, err := openAuthority(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &certificates{log: log, local: local, table: table, fetches: map[string]bool{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if cfg.ACME != nil {
		c.openACME(cfg)
	}
	return c, nil
}

func (c *certificates) openACME(cfg TLS) {
	quiet := zap.NewNop()
	magic := certmagic.Config{
		Storage: &certmagic.FileStorage{Path: cfg.Dir + "/acme"},
		Logger:  quiet,
		OnEvent: c.onEvent,
		OnDemand: &certmagic.OnDemandConfig{DecisionFunc: func(_ context.Context, name string) error {
			if !c.public(name) {
				return fmt.Errorf("%s is in no public route", name)
			}
			return nil
		}},
	}
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return c.acme, nil },
		Logger:           quiet,
	})
	c.acme = certmagic.New(c.cache, magic)
	directory := cfg.ACME.Directory
	if directory == "" {
		directory = certmagic.LetsEncryptProductionCA
	}
	c.http = certmagic.NewACMEIssuer(c.acme, certmagic.ACMEIssuer{
		CA:             directory,
		Email:          cfg.ACME.Email,
		Agreed:         true,
		TrustedRoots:   cfg.ACME.Roots,
		AltHTTPPort:    cfg.ACME.HTTPPort,
		AltTLSALPNPort: cfg.ACME.TLSPort,
		Logger:         quiet,
	})
	c.acme.Issuers = []certmagic.Issuer{c.http}
}

// onEvent logs what becomes of requests to the ACME authority, which are repeated for a long time.
func (c *certificates) onEvent(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_failed":
		c.log.Warn("no certificate from the ACME authority, trying again later", "host", data["identifier"], "err", data["error"])
	case "cert_obtained":
		c.log.Info("certificate obtained", "host", data["identifier"])
	}
	return nil
}

// close ends what goes on in the background.
func (c *certificates) close() {
	c.cancel()
	c.running.Wait()
	if c.cache != nil {
		c.cache.Stop()
	}
}

// publicName says whether a name may be one of the public DNS. Names of RFC 6761 and 6762 and single labels are not.
func publicName(name string) bool {
	if !strings.Contains(name, ".") || net.ParseIP(name) != nil {
		return false
	}
	for _, local := range []string{".localhost", ".local", ".test", ".example", ".invalid", ".internal", ".home.arpa"} {
		if strings.HasSuffix(name, local) {
			return false
		}
	}
	return true
}

// public says whether an ACME authority is to be asked for a name: the outside may reach it, and its DNS may. Services that only others
// inside reach have names such as hello.default, which look public.
func (c *certificates) public(name string) bool {
	r := c.table(name)
	return r != nil && r.Visibility != ClusterLocal && publicName(name)
}

// get chooses the certificate for a handshake.
func (c *certificates) get(hello *tls.ClientHelloInfo, rs *routes) (*tls.Certificate, error) {
	name, ok := canonicalHost(hello.ServerName)
	if !ok {
		if hello.ServerName != "" {
			return nil, fmt.Errorf("%q is not a host name", hello.ServerName)
		}
		if hello.Conn == nil {
			return nil, errors.New("no server name was sent")
		}
		// A client that dialled an address sends no name.
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if err != nil {
			return nil, errors.New("no server name was sent")
		}
		return c.local.certificate(host, time.Now())
	}
	if own := rs.certificate(name); own != nil {
		return own, nil
	}
	if c.acme != nil && c.public(name) {
		// The answer of the authority may take longer than the client waits; it is for the next one then.
		return c.acme.GetCertificateWithContext(c.ctx, hello)
	}
	if c.table(name) == nil && name != "localhost" {
		return nil, fmt.Errorf("%s is in no route", name)
	}
	return c.local.certificate(name, time.Now())
}

// ready says whether a handshake for the name would find a certificate without asking anybody.
func (c *certificates) ready(name string, rs *routes) bool {
	if rs.certificate(name) != nil {
		return true
	}
	if c.acme == nil || !c.public(name) {
		return true
	}
	if len(c.cache.AllMatchingCertificates(name)) > 0 {
		return true
	}
	c.fetch(name)
	return false
}

// fetch begins to get a certificate, from the folder or from the authority, unless that has begun.
func (c *certificates) fetch(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetches[name] || c.ctx.Err() != nil {
		return
	}
	c.fetches[name] = true
	c.running.Go(func() {
		_, err := c.acme.CacheManagedCertificate(c.ctx, name)
		if err != nil {
			if err = c.acme.ObtainCertAsync(c.ctx, name); err == nil { // in this goroutine, with retries
				_, err = c.acme.CacheManagedCertificate(c.ctx, name)
			}
		}
		if err != nil && c.ctx.Err() == nil {
			c.log.Warn("no certificate from the ACME authority", "host", name, "err", err)
		}
		c.mu.Lock()
		delete(c.fetches, name)
		c.mu.Unlock()
	})
}

// certificate gives the user's certificate for a name, nil if there is none.
func (rs *routes) certificate(name string) *tls.Certificate {
	if c := rs.certs[name]; c != nil {
		return c
	}
	if _, domain, ok := strings.Cut(name, "."); ok {
		return rs.certs["*."+domain]
	}
	return nil
}

// addCertificate takes a user's certificate into the table under all its names.
func (rs *routes) addCertificate(c tls.Certificate) error {
	if c.Leaf == nil {
		if len(c.Certificate) == 0 {
			return errors.New("a certificate without content")
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return fmt.Errorf("a certificate that cannot be read: %w", err)
		}
		c.Leaf = leaf
	}
	if c.PrivateKey == nil {
		return fmt.Errorf("the certificate for %v has no private key", c.Leaf.DNSNames)
	}
	for _, name := range c.Leaf.DNSNames {
		rs.certs[strings.ToLower(name)] = &c
	}
	return nil
}

func (g *Gateway) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.certs.get(hello, g.routes.Load())
		},
	}
	if g.certs.acme != nil {
		cfg.NextProtos = append(cfg.NextProtos, "acme-tls/1")
	}
	return cfg
}

// RootCertificate gives the certificate, in PEM, that clients must trust to trust what the authority of this machine issues; nil
// without HTTPS.
func (g *Gateway) RootCertificate() []byte {
	if g.certs == nil {
		return nil
	}
	return g.certs.local.rootPEM()
}

// redirect answers a plain request with the address to use instead, if the route wants it and HTTPS works.
func (g *Gateway) redirect(w http.ResponseWriter, r *http.Request, route *route, rs *routes, c *Caller) bool {
	if route.Redirect != RedirectToHTTPS || r.TLS != nil || c.Internal || g.certs == nil {
		return false
	}
	host, ok := canonicalHost(r.Host)
	if !ok || !g.certs.ready(host, rs) {
		return false
	}
	target := host
	if g.httpsPort != 443 {
		target = net.JoinHostPort(host, strconv.Itoa(g.httpsPort))
	}
	status := http.StatusPermanentRedirect
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	w.Header().Set("Location", "https://"+target+r.URL.RequestURI())
	w.WriteHeader(status)
	return true
}
