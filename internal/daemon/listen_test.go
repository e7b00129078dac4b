package daemon

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestBusyAddressNamesItsFlag(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	settings := NewSettings()
	settings.Home = t.TempDir()
	settings.MetricsListen, settings.RegistryListen = "127.0.0.1:0", busy.Addr().String()
	_, err = New(Config{Settings: settings})
	if err == nil || !strings.Contains(err.Error(), busy.Addr().String()) {
		t.Fatalf("got %v, want the busy address named", err)
	}
	var advice interface{ Try() string }
	if !errors.As(err, &advice) || !strings.Contains(advice.Try(), "--registry-listen") {
		t.Errorf("%v: the advice does not name the flag", err)
	}
	// Everything was given up: the same home folder can be used at once.
	lock, err := lockHome(settings.Home)
	if err != nil {
		t.Fatalf("the home folder is still locked: %v", err)
	}
	lock.release()
}

func TestRegistryNames(t *testing.T) {
	names := registryNames(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000})
	if got := strings.Join(names, " "); got != "127.0.0.1:5000 127.0.0.1:5000 localhost:5000" {
		t.Errorf("got %q", got)
	}
}
