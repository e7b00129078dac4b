package daemon

import (
	"context"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// checkPorts tells addresses that are free from those that this home's own daemon has, or the sandbox helper keeps for the next one, and
// from those that another program has.
func checkPorts(ctx context.Context, s *Settings) []Finding {
	var findings []Finding
	listening := listeningSockets()
	running := runningProcess(s.Home)
	has := socketsOf(running, listening)
	if running != 0 {
		findings = append(findings, ok("the daemon of this home (process %d, %s) listens on %s",
			running, describeDaemon(ctx, s.Home, running), addressList(has)))
	}
	helper := sandbox.HelperPID(filepath.Join(s.Home, "sandbox"))
	holds := socketsOf(helper, listening)
	if running == 0 && len(holds) > 0 {
		held := ok("no daemon runs; the sandbox helper of this home (process %d) holds %s for the next one", helper, addressList(holds))
		held.Try = "fairlead serve, which takes them and answers who waits there"
		findings = append(findings, held)
	}
	own := slices.Concat(has, holds)
	for _, p := range []struct{ setting, address string }{
		{"api-listen", s.APIListen}, {"gateway-listen", s.GatewayListen}, {"gateway-tls-listen", s.GatewayTLSListen},
		{"registry-listen", s.RegistryListen}, {"metrics-listen", s.MetricsListen},
	} {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address)
		if err == nil {
			listener.Close()
		} else if !ownAddress(p.address, own, listening) {
			findings = append(findings, warning("stop what listens there (`ss -ltnp`), or choose another with --"+p.setting,
				"%s cannot be listened on: %v", p.address, err))
		}
	}
	if len(findings) == 0 {
		findings = append(findings, ok("all addresses are free"))
	}
	return findings
}

// runningProcess finds the process that has the lock of a home folder open, 0 if there is none or it may not be looked at.
func runningProcess(home string) int {
	home, err := filepath.Abs(home)
	if err != nil {
		return 0
	}
	path := filepath.Join(home, "lock")
	pid, err := numberIn(path)
	if real, realErr := filepath.EvalSymlinks(path); realErr == nil {
		path = real // as /proc shows it
	}
	if err != nil || !slices.Contains(openFiles(pid), path) {
		return 0
	}
	return pid
}

// askTime bounds how long the API may take to say what the daemon has.
const askTime = 2 * time.Second

// describeDaemon says which program a process runs, and how the daemon isolates instances.
func describeDaemon(ctx context.Context, home string, pid int) string {
	what := "fairlead of unknown version"
	if info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		what = "fairlead " + info.Main.Version
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	info, err := infoOf(ctx, home)
	switch {
	case err != nil:
		return fmt.Sprintf("%s, whose API says nothing yet: %v", what, err)
	case len(info.Runtimes) == 0:
		return what + ", without instances"
	}
	return what + ", instances by " + info.Runtimes[0]
}

// infoOf asks the daemon of a home folder what it has.
func infoOf(ctx context.Context, home string) (Info, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(home, "kubeconfig"))
	if err != nil {
		return Info{}, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Info{}, err
	}
	return ReadInfo(ctx, client)
}

// listeningSocket is a line of /proc/net/tcp.
type listeningSocket struct {
	address netip.AddrPort
	file    string // as /proc names it where a process has it open
}

// listeningSockets lists the listening TCP sockets of this machine.
func listeningSockets() (all []listeningSocket) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(data)) {
			if s, ok := parseSocket(line); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// stateListen is how /proc/net/tcp writes that a socket listens.
const stateListen = "0A"

// parseSocket reads a line of /proc/net/tcp or tcp6; false unless it is a listening socket. Addresses are words of 32 bits in the order of
// the machine, which is little endian wherever Fairlead runs.
func parseSocket(line string) (listeningSocket, bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != stateListen {
		return listeningSocket{}, false
	}
	host, port, _ := strings.Cut(fields[1], ":")
	raw, err := hex.DecodeString(host)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(raw)%4 != 0 {
		return listeningSocket{}, false
	}
	for n := 0; n < len(raw); n += 4 {
		slices.Reverse(raw[n : n+4])
	}
	address, valid := netip.AddrFromSlice(raw)
	return listeningSocket{netip.AddrPortFrom(address.Unmap(), uint16(number)), "socket:[" + fields[9] + "]"}, valid
}

// socketsOf gives those of the sockets that a process has open.
func socketsOf(pid int, all []listeningSocket) []listeningSocket {
	if pid == 0 {
		return nil
	}
	files := openFiles(pid)
	return slices.DeleteFunc(slices.Clone(all), func(s listeningSocket) bool { return !slices.Contains(files, s.file) })
}

func addressList(sockets []listeningSocket) string {
	var list []string
	for _, s := range sockets {
		list = append(list, s.address.String())
	}
	slices.Sort(list)
	if list = slices.Compact(list); len(list) == 0 {
		return "no address yet"
	}
	return strings.Join(list, ", ")
}

// ownAddress says whether everything that is in the way of listening on an address is our own.
func ownAddress(address string, own, all []listeningSocket) bool {
	wanted, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return false
	}
	at := wanted.AddrPort()
	found := false
	for _, s := range all {
		ip, other := at.Addr().Unmap(), s.address.Addr()
		if s.address.Port() != at.Port() || ip != other && ip.IsValid() && !ip.IsUnspecified() && !other.IsUnspecified() {
			continue
		}
		if found = slices.Contains(own, s); !found {
			return false
		}
	}
	return found
}
