package oci_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// serving is a process with nothing but a store, which unpacks big:latest when asked to.
func serving(dir string) error {
	s, err := oci.New(oci.Config{Dir: dir})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	mux := http.NewServeMux()
	mux.Handle("/", s.Handler())
	mux.HandleFunc("/unpack", func(w http.ResponseWriter, r *http.Request) {
		resolved, err := s.Resolve(r.Context(), oci.ResolveRequest{Reference: "big", Policy: oci.Never})
		if err == nil {
			_, err = s.RootFS(r.Context(), resolved.Digest)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return http.Serve(l, mux)
}

// startServing starts that process and gives its address.
func startServing(tb testing.TB, dir string) (host string, child *os.Process) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), servingDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		tb.Fatal("the process does not say its address")
	}
	return lines.Text(), cmd.Process
}

// peakMemory is the most resident memory a process ever had, in bytes.
func peakMemory(tb testing.TB, p *os.Process) float64 {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib * 1024
		}
	}
	tb.Fatal("no peak in /proc")
	return 0
}
