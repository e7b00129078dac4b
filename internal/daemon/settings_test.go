package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// resolve parses args as a command line would, with a home folder of the test's own.
func resolve(t *testing.T, home string, args ...string) (*Settings, map[string]Setting, error) {
	t.Helper()
	s := NewSettings()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.AddFlags(flags)
	if err := flags.Parse(append([]string{"--home", home}, args...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Resolve(flags); err != nil {
		return nil, nil, err
	}
	inForce := map[string]Setting{}
	for _, line := range s.InForce() {
		inForce[line.Name] = line
	}
	return s, inForce, nil
}

func writeConfig(t *testing.T, text string) (home string) {
	t.Helper()
	home = t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestSettingsPrecedence(t *testing.T) {
	home := writeConfig(t, "domain: file.example\nlog-level: warn\nlog-format: json\nstore-quota: 33554432\ndisable: [gateway, metrics]\n")
	t.Setenv("FAIRLEAD_DOMAIN", "environment.example")
	t.Setenv("FAIRLEAD_LOG_LEVEL", "error")
	t.Setenv("FAIRLEAD_LOG_FORMAT", "") // says nothing, also of the file
	t.Setenv("FAIRLEAD_RUNTIME", "")
	s, inForce, err := resolve(t, home, "--domain", "flag.example")
	if err != nil {
		t.Fatal(err)
	}
	if s.Domain != "flag.example" || s.LogLevel != "error" || s.LogFormat != "json" || s.StoreQuota != 32<<20 || len(s.Disable) != 2 {
		t.Errorf("got %+v", s)
	}
	for name, from := range map[string]string{
		"domain": "flag --domain", "log-level": "environment FAIRLEAD_LOG_LEVEL",
		"log-format": "file " + filepath.Join(home, "config.yaml"), "runtime": "default",
	} {
		if inForce[name].From != from {
			t.Errorf("%s comes from %q, want %q", name, inForce[name].From, from)
		}
	}
	if inForce["disable"].Value != "gateway,metrics" {
		t.Errorf("disable is shown as %q", inForce["disable"].Value)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		file, want string
		args       []string
	}{
		"unknown key":       {file: "domian: x\n", want: `key "domian" is not a setting`},
		"home in its file":  {file: "home: /tmp/x\n", want: `key "home" is not a setting`},
		"not YAML":          {file: "a: [", want: "configuration file"},
		"wrong type":        {file: "drain: soon\n", want: `key "drain"`},
		"no such file":      {args: []string{"--config", "/does/not/exist.yaml"}, want: "no such file"},
		"spares":            {args: []string{"--spares", "-2"}, want: "-1 keeps none"},
		"address":           {args: []string{"--api-listen", "6443"}, want: `"6443" is not host:port`},
		"runtime":           {args: []string{"--runtime", "docker"}, want: "none of auto, crun"},
		"component":         {args: []string{"--disable", "store"}, want: `"store" is none of`},
		"quota":             {args: []string{"--store-quota", "5"}, want: "too little"},
		"drain is negative": {args: []string{"--drain", "-1s"}, want: "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := resolve(t, writeConfig(t, test.file), test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

func TestSettingsBadEnvironment(t *testing.T) {
	t.Setenv("FAIRLEAD_DRAIN", "soon")
	if _, _, err := resolve(t, t.TempDir()); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_DRAIN") {
		t.Errorf("got %v, want the variable named", err)
	}
}

func FuzzSettingsFile(f *testing.F) {
	f.Add("domain: example.org\n")
	f.Add("disable: [gateway]\ndrain: 3s\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		_, inForce, err := resolve(t, writeConfig(t, text))
		if err == nil && len(inForce) != len(settingNames()) {
			t.Errorf("accepted, but %d of %d settings are in force", len(inForce), len(settingNames()))
		}
	})
}

func TestHomeLock(t *testing.T) {
	home := t.TempDir()
	first, err := lockHome(home)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockHome(home)
	if !errors.Is(err, ErrHomeInUse) || !strings.Contains(err.Error(), "daemon.test") {
		t.Errorf("got %v, want ErrHomeInUse with the name of the holder", err)
	}
	var advice interface{ Try() string }
	if !errors.As(err, &advice) {
		t.Errorf("%v does not say what to try", err)
	}
	first.release()
	second, err := lockHome(home)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	second.release()
}

func TestSettingsOfACommandWithFewFlags(t *testing.T) {
	t.Setenv("FAIRLEAD_API_LISTEN", "127.0.0.1:1")
	s := NewSettings()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.StringVar(&s.Home, "home", s.Home, "")
	if err := flags.Parse([]string{"--home", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Resolve(flags); err != nil || s.APIListen != "127.0.0.1:1" {
		t.Errorf("got %q, %v, want the address from the environment", s.APIListen, err)
	}
}
