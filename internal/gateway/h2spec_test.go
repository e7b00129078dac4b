package gateway

import (
	"context"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestH2Spec holds the gateway to the HTTP/2 conformance program named by FAIRLEAD_H2SPEC (make conformance-http2 builds it).
func TestH2Spec(t *testing.T) {
	program := os.Getenv("FAIRLEAD_H2SPEC")
	if program == "" {
		t.Skip("FAIRLEAD_H2SPEC names no h2spec: run make conformance-http2")
	}
	g, plain := start(t, Config{HTTPS: []string{"127.0.0.1:0"}, TLS: TLS{Dir: t.TempDir()}})
	g.SetInstances("b", []Instance{app(t, "a", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello")
	})})
	if err := g.Apply(simple("127.0.0.1", Backend{Name: "b"})); err != nil {
		t.Fatal(err)
	}
	_, secure := g.Addrs()
	for name, addr := range map[string]string{"cleartext": plain, "tls": secure[0].String()} {
		t.Run(name, func(t *testing.T) {
			_, port, _ := net.SplitHostPort(addr)
			report := filepath.Join(t.TempDir(), "report.xml")
			args := []string{"-h", "127.0.0.1", "-p", port, "-j", report, "-o", "2"}
			if name == "tls" {
				args = append(args, "-t", "-k")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() // fails when any case fails
			data, readErr := os.ReadFile(report)
			if readErr != nil {
				t.Fatalf("h2spec: %v\n%s", err, out)
			}
			cases, failed := countCases(t, data)
			t.Logf("%d of %d pass, not: %q", cases-len(failed), cases, failed)
			if cases < 140 || cases-len(failed) < 139 {
				t.Errorf("%d of %d pass, want at least 139 of 145; failed:\n%v\n%s", cases-len(failed), cases, failed, out)
			}
		})
	}
}

func countCases(t *testing.T, data []byte) (cases int, failed []string) {
	t.Helper()
	var report struct {
		Suites []struct {
			Cases []struct {
				Class   string    `xml:"classname,attr"`
				Package string    `xml:"package,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatal("h2spec's report:", err)
	}
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			if c.Skipped != nil {
				continue
			}
			cases++
			if c.Failure != nil || c.Error != nil {
				failed = append(failed, c.Package+": "+c.Class)
			}
		}
	}
	return cases, failed
}
