package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
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
	// HTTPPort and TLSPort are where the authority's challenges arrive when not at 80 and 443.
	HTTPPort, TLSPort int
}

// certificates finds a certificate for a handshake.
type certificates struct {
	local *authority
	acme  *certmagic.Config
	http  *certmagic.ACMEIssuer // answers challenges that come by HTTP
	cache *certmagic.Cache
	known func(host string) bool // is in the table
}

func newCertificates(cfg TLS, known func(string) bool) (*certificates, error) {
	local, err := openAuthority(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &certificates{local: local, known: known}
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
		OnDemand: &certmagic.OnDemandConfig{DecisionFunc: func(_ context.Context, name string) error {
			if !c.known(name) {
				return fmt.Errorf("%s is in no route", name)
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

func (c *certificates) close() {
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
	if c.acme != nil && publicName(name) {
		return c.acme.GetCertificateWithContext(hello.Context(), hello)
	}
	if !c.known(name) && name != "localhost" {
		return nil, fmt.Errorf("%s is in no route", name)
	}
	return c.local.certificate(name, time.Now())
}

// ready says whether a handshake for the name would find a certificate without asking anybody.
func (c *certificates) ready(name string, rs *routes) bool {
	if rs.certificate(name) != nil {
		return true
	}
	if c.acme != nil && publicName(name) {
		_, err := c.acme.CacheManagedCertificate(context.Background(), name)
		return err == nil
	}
	return true
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
