package oci_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// TestConformance runs the conformance program of the OCI distribution specification against the registry. The program
// is built by "make conformance-registry", which names it in OCI_CONFORMANCE.
func TestConformance(t *testing.T) {
	program := os.Getenv("OCI_CONFORMANCE")
	if program == "" {
		t.Skip("OCI_CONFORMANCE does not name the conformance program: run make conformance-registry")
	}
	for _, version := range []string{"1.1", "1.1+dev"} {
		for _, token := range []string{"", "s3cret"} {
			t.Run(version+" login "+token, func(t *testing.T) { runConformance(t, program, version, token) })
		}
	}
}

func runConformance(t *testing.T, program, version, token string) {
	s, err := oci.New(oci.Config{Dir: t.TempDir(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	results := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = results
	cmd.Env = append(os.Environ(), "OCI_VERSION="+version, "OCI_REGISTRY="+strings.TrimPrefix(server.URL, "http://"),
		"OCI_TLS=disabled", "OCI_RESULTS_DIR="+results)
	if token != "" {
		cmd.Env = append(cmd.Env, "OCI_USERNAME=me", "OCI_PASSWORD="+token)
	}
	out, runErr := cmd.CombinedOutput()
	report, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatalf("no report: %v\n%s", err, out)
	}
	head := regexp.MustCompile(`<testsuites[^>]*>`).FindString(string(report))
	t.Log(head)
	// The report leaves a count out when it is zero.
	if runErr != nil || !strings.Contains(head, "tests=") || strings.Contains(head, "failures=") || strings.Contains(head, "errors=") {
		t.Errorf("%v\n%s", runErr, out)
	}
}
