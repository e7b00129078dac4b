package oci_test

import (
	"encoding/xml"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
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

// conformanceSkips are the tests that the program leaves out by itself, by version and name, with the reason.
var conformanceSkips = map[string]map[string]string{
	"1.1": {"blob-post-cancel": "cancelling an upload is optional at 1.1; the program tests it at 1.1+dev"},
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
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Cases    []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatal(err)
	}
	skipped := 0
	for _, c := range suites.Cases {
		if c.Status != "skipped" {
			continue
		}
		skipped++
		reason := conformanceSkips[version][path.Base(c.Name)]
		if reason == "" {
			t.Errorf("skipped for no known reason: %s", c.Name)
		}
		t.Logf("skipped: %s: %s", c.Name, reason)
	}
	t.Logf("%d tests, %d failed, %d skipped", suites.Tests, suites.Failures+suites.Errors, skipped)
	if runErr != nil || suites.Tests == 0 || suites.Failures > 0 || suites.Errors > 0 {
		t.Errorf("%v\n%s", runErr, out)
	}
}
