package daemon

import (
	"fmt"
	"net/mail"
	"net/url"

	"github.com/spf13/pflag"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// ACMESettings are the account by which the gateway gets certificates for public host names. The zero value is none.
type ACMESettings struct {
	// Email of the account. By giving one the authority's terms are agreed to; empty turns ACME off.
	Email string
	// Directory is the https address of the authority's directory (RFC 8555, section 7.1.1); empty means Let's Encrypt.
	Directory string
}

func (a *ACMESettings) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&a.Email, "acme-email", a.Email, "account for certificates of public hosts by ACME; giving one agrees to the authority's terms")
	flags.StringVar(&a.Directory, "acme-directory", a.Directory, "address of the ACME authority's directory (default Let's Encrypt)")
}

// account gives what the gateway is to use, nil for no ACME.
func (a *ACMESettings) account() (*gateway.ACME, error) {
	if a.Email == "" {
		if a.Directory != "" {
			return nil, fmt.Errorf("setting acme-directory: %q is not used without an account: set acme-email too", a.Directory)
		}
		return nil, nil
	}
	if address, err := mail.ParseAddress(a.Email); err != nil || address.Address != a.Email {
		return nil, fmt.Errorf("setting acme-email: %q is not an address like you@example.com", a.Email)
	}
	if a.Directory != "" {
		u, err := url.Parse(a.Directory)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, fmt.Errorf("setting acme-directory: %q is not an https address like https://acme.example.com/directory", a.Directory)
		}
	}
	return &gateway.ACME{Email: a.Email, Directory: a.Directory}, nil
}
