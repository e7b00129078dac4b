package e2e_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestInstall installs below a folder, and uninstalls: everything is there, then nothing is.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	makeTarget := func(target string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "make", target, "BINARY="+binary, "DESTDIR="+dest, "PREFIX=/opt/fairlead", "PURGE=1")
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
	}
	makeTarget("install")
	for file, want := range map[string]string{
		"bin/fairlead":                                   "",
		"share/man/man1/fairlead-run.1":                  "fairlead",
		"share/bash-completion/completions/fairlead":     "fairlead",
		"share/zsh/site-functions/_fairlead":             "#compdef fairlead",
		"share/fish/vendor_completions.d/fairlead.fish":  "fairlead",
		"lib/systemd/system/fairlead.service":            "ExecStart=/opt/fairlead/bin/fairlead serve",
		"lib/systemd/system/fairlead-gateway.socket":     "FileDescriptorName=gateway\n",
		"lib/systemd/system/fairlead-gateway-tls.socket": "FileDescriptorName=gateway-tls\n",
		"lib/systemd/system/fairlead-api.socket":         "FileDescriptorName=api\n",
	} {
		text, err := os.ReadFile(filepath.Join(dest, "opt/fairlead", file))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(text), want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
	makeTarget("uninstall")
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPackaging: what the release configuration puts into packages exists, each unit is among it, and the units are
// well formed where there is a program to say so.
func TestPackaging(t *testing.T) {
	text, err := os.ReadFile("../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var release struct {
		NFPMs []struct {
			Scripts  map[string]string
			Contents []struct{ Src, Dst string }
		} `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal(text, &release); err != nil {
		t.Fatal(err)
	}
	packed := map[string]bool{}
	for _, p := range release.NFPMs {
		for _, script := range p.Scripts {
			packed[script] = true
		}
		for _, c := range p.Contents {
			if c.Src != "" { // a folder has none
				packed[c.Src] = true
			}
		}
	}
	for src := range packed {
		if _, err := os.Stat(filepath.Join("../..", src)); err != nil && !strings.HasPrefix(src, "bin/extra/") { // made by make dist
			t.Errorf("a package wants %s: %v", src, err)
		}
	}
	units, err := filepath.Glob("../../packaging/*.s*e*")
	if err != nil || len(units) < 4 {
		t.Fatalf("the units are %v, %v", units, err)
	}
	for _, unit := range units {
		if !packed["packaging/"+filepath.Base(unit)] {
			t.Errorf("%s is in no package", unit)
		}
	}
	service, err := os.ReadFile("../../packaging/fairlead.service")
	if err != nil {
		t.Fatal(err)
	}
	// What instances inherit, and cannot be made or work with.
	for _, setting := range []string{"ProtectHostname", "SystemCallFilter", "RestrictNamespaces", "RestrictAddressFamilies", "RestrictSUIDSGID",
		"PrivateDevices", "PrivateNetwork", "PrivateUsers", "ProtectKernelTunables", "ProtectControlGroups", "MemoryDenyWriteExecute"} {
		if regexp.MustCompile("(?m)^" + setting + "=").Match(service) {
			t.Errorf("the unit sets %s", setting)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed: the units are not verified")
	}
	// The program is looked for where it is here, not where a package puts it.
	dir := t.TempDir()
	verify := []string{"verify", "--man=no"}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(dir, filepath.Base(unit))
		text = regexp.MustCompile("/usr/bin/fairlead").ReplaceAll(text, []byte(binary))
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			t.Fatal(err)
		}
		verify = append(verify, copied)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", verify...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
