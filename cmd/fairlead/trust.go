package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
)

// trustStores are the folders and commands by which distributions add a certificate authority for everybody.
var trustStores = []struct{ dir, command string }{
	{"/usr/local/share/ca-certificates", "update-ca-certificates"},   // Debian, Ubuntu, Alpine
	{"/etc/pki/ca-trust/source/anchors", "update-ca-trust"},          // Fedora, RHEL
	{"/etc/ca-certificates/trust-source/anchors", "update-ca-trust"}, // Arch
}

const trustFile = "fairlead-local-ca.crt"

func newTrustCommand(term *terminal) *cobra.Command {
	var (
		target        clientFlags
		print, remove bool
	)
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Let this machine trust the gateway's own certificates",
		Long: "Trust adds the certificate authority of this daemon to those the machine trusts, so that curl and most programs\n" +
			"accept https://<service>.<namespace>.localhost. Its key never leaves this machine. --remove takes it back; --print\n" +
			"only prints the certificate, for a browser's own store for example.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if print && remove {
				return usagef("--print and --remove exclude each other")
			}
			if remove {
				return distrust(cmd, term)
			}
			c, err := connect(cmd.Context(), target.kubeconfig(cmd.Flags()))
			if err != nil {
				return err
			}
			s, err := describeSession(cmd.Context(), &session{client: c})
			if err != nil {
				return err
			}
			if s.info.Authority == "" {
				return withTry(errors.New("the daemon runs without its gateway and has no certificates"), "start it without --disable gateway")
			}
			if print {
				_, err := fmt.Fprint(term.out, s.info.Authority)
				return err
			}
			return trust(cmd, term, s.info.Authority)
		},
	}
	target.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&print, "print", false, "print the certificate and change nothing")
	cmd.Flags().BoolVar(&remove, "remove", false, "trust it no longer")
	return cmd
}

// trust writes the certificate to the machine's store and has the store read again.
func trust(cmd *cobra.Command, term *terminal, certificate string) error {
	for _, store := range trustStores {
		if info, err := os.Stat(store.dir); err != nil || !info.IsDir() {
			continue
		}
		path := filepath.Join(store.dir, trustFile)
		if err := os.WriteFile(path, []byte(certificate), 0o644); err != nil { //nolint:gosec // a certificate is public
			if errors.Is(err, fs.ErrPermission) {
				return withTry(fmt.Errorf("trust: %w", err), "sudo fairlead trust, or fairlead trust --print for a store of your own")
			}
			return fmt.Errorf("trust: %w", err)
		}
		if err := reread(cmd, store.command); err != nil {
			return errors.Join(err, os.Remove(path))
		}
		term.note("This machine trusts the gateway's certificates now; browsers with a store of their own need fairlead trust --print")
		return nil
	}
	return withTry(errors.New("trust: this system's store of certificates is not known"), "fairlead trust --print, and add the certificate by hand")
}

func distrust(cmd *cobra.Command, term *terminal) error {
	removed := false
	for _, store := range trustStores {
		err := os.Remove(filepath.Join(store.dir, trustFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return withTry(fmt.Errorf("trust: %w", err), "sudo fairlead trust --remove")
		}
		removed = true
		if err := reread(cmd, store.command); err != nil {
			return err
		}
	}
	if removed {
		term.note("This machine no longer trusts the gateway's certificates")
	} else {
		term.note("This machine did not trust the gateway's certificates")
	}
	return nil
}

func reread(cmd *cobra.Command, command string) error {
	out, err := exec.CommandContext(cmd.Context(), command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("trust: %s: %w: %s", command, err, out)
	}
	return nil
}
