package protocol

import (
	"context"
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// TestH2Spec holds the daemon to the HTTP/2 conformance program named by FAIRLEAD_H2SPEC (make conformance-http2 builds it).
func TestH2Spec(t *testing.T) {
	program := os.Getenv("FAIRLEAD_H2SPEC")
	if program == "" {
		t.Skip("FAIRLEAD_H2SPEC names no h2spec: run make conformance-http2")
	}
	h := serve(t)
	deploy(t, h, build(t, h, "../../examples/hello"), corev1.ContainerPort{ContainerPort: 8080}, "hello")
	mapTo(t, h, "127.0.0.1", "hello") // h2spec asks for the name that it connects to
	for name, addr := range map[string]string{"cleartext": h.Info.Gateway, "tls": h.Info.GatewayTLS} {
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

// mapTo makes a service answer under a further name.
func mapTo(t *testing.T, h *realdaemon.Host, domain, service string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m := &servingv1beta1.DomainMapping{ObjectMeta: metav1.ObjectMeta{Name: domain}}
	m.Spec.Ref = duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: service}
	mappings := h.Serving.ServingV1beta1().DomainMappings("default")
	if _, err := mappings.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		m, err := mappings.Get(ctx, domain, metav1.GetOptions{})
		return err == nil && m.IsReady(), err
	})
	if err != nil {
		t.Fatalf("domain mapping %s: %v", domain, err)
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
