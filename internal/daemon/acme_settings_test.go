package daemon

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

func TestACMESettings(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		args []string
		want *gateway.ACME
		err  string
	}{
		"off":     {},
		"account": {args: []string{"--acme-email", "you@example.com"}, want: &gateway.ACME{Email: "you@example.com"}},
		"another authority, in the file": {
			file: "acme-email: you@example.com\nacme-directory: https://ca.example.com:9000/acme/directory\n",
			want: &gateway.ACME{Email: "you@example.com", Directory: "https://ca.example.com:9000/acme/directory"},
		},
		"no address":          {args: []string{"--acme-email", "you"}, err: `setting acme-email: "you"`},
		"address with a name": {args: []string{"--acme-email", "You <you@example.com>"}, err: "setting acme-email"},
		"two addresses":       {args: []string{"--acme-email", "a@example.com,b@example.com"}, err: "setting acme-email"},
		"no account":          {file: "acme-directory: https://ca.example.com/d\n", err: "set acme-email too"},
		"directory in the clear": {
			args: []string{"--acme-email", "you@example.com", "--acme-directory", "http://ca.example.com/d"}, err: "not an https address",
		},
		"directory without host": {args: []string{"--acme-email", "you@example.com", "--acme-directory", "https:///d"}, err: "not an https address"},
		"directory is no address": {
			args: []string{"--acme-email", "you@example.com", "--acme-directory", "https://[::1/d"}, err: "not an https address",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := resolve(t, writeConfig(t, test.file), test.args...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want it to say %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.ACME.account(); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}
