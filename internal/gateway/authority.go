package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	authorityFile = "ca.pem" // certificate and key in one file, so that they cannot come apart
	rootFile      = "ca.crt"

	rootLife  = 10 * 365 * 24 * time.Hour
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour // before the end
	backdate  = time.Hour           // for clocks that are behind

	maxLeaves = 16_384
)

// authority is a certificate authority for this machine. Its directory has one owner. It issues a certificate for a name when it is
// first asked for it and keeps it until shortly before it ends.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	leafKey *ecdsa.PrivateKey // shared by all leaves: making one per name would cost more than it protects

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// openAuthority reads the authority of a directory, or makes it.
func openAuthority(dir string) (*authority, error) {
	a := &authority{leaves: map[string]*tls.Certificate{}}
	path := filepath.Join(dir, authorityFile)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if data, err = makeAuthority(); err != nil {
			return nil, fmt.Errorf("making the local certificate authority: %w", err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of the local certificate authority: %w", err)
		}
		if err := writeFile(path, data, 0o600); err != nil {
			return nil, fmt.Errorf("keeping the local certificate authority: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("reading the local certificate authority: %w", err)
	}
	if err := a.parse(data); err != nil {
		return nil, fmt.Errorf("reading the local certificate authority %s: %w (delete the file to have a new one made; it must be trusted anew then)", path, err)
	}
	if err := writeFile(filepath.Join(dir, rootFile), a.rootPEM(), 0o644); err != nil {
		return nil, fmt.Errorf("writing the root certificate: %w", err)
	}
	if a.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making a key for certificates: %w", err)
	}
	return a, nil
}

func makeAuthority() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Fairlead local authority of " + host, Organization: []string{"Fairlead"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails, see crypto/rand.Reader
	return n
}

func (a *authority) parse(data []byte) error {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("its key is not an ECDSA key")
	}
	if !pair.Leaf.IsCA {
		return errors.New("its certificate is not one of an authority")
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("its certificate ended on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	a.cert, a.key = pair.Leaf, key
	return nil
}

func (a *authority) rootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// certificate gives a certificate for a host name or an address.
func (a *authority) certificate(name string, now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[name]; c != nil && now.Before(c.Leaf.NotAfter.Add(-leafRenew)) {
		return c, nil
	}
	c, err := a.issue(name, now)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %s: %w", name, err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves) // somebody goes through the names of a wildcard
	}
	a.leaves[name] = c
	return c, nil
}

// keep forgets the certificates of names that are not to be kept.
func (a *authority) keep(wanted func(name string) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.leaves {
		if !wanted(name) {
			delete(a.leaves, name)
		}
	}
}

func (a *authority) issue(name string, now time.Time) (*tls.Certificate, error) {
	end := now.Add(leafLife)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Fairlead"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leafKey, Leaf: leaf}, nil
}

// writeFile puts data in place of a file such that after a crash there is the old content or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already unless something went wrong
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
