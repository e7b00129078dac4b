package daemon

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "rewrite docs/reference/metrics.md")

const metricsPage = "../../docs/reference/metrics.md"

// TestMetricsReference compares the generated page of all metrics with what the components really register.
func TestMetricsReference(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the sandbox has metrics too")
	}
	settings := NewSettings()
	settings.Home = t.TempDir()
	for _, a := range []*string{&settings.APIListen, &settings.GatewayListen, &settings.GatewayTLSListen, &settings.RegistryListen, &settings.MetricsListen} {
		*a = "127.0.0.1:0"
	}
	d, err := New(Config{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer d.lock.release()
	page := metricsReference(t, d.metrics)
	if *update {
		if err := os.WriteFile(metricsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(committed) != page {
		t.Errorf("docs/reference/metrics.md is not what the components register: go test ./internal/daemon -run Metrics -update")
	}
}

// TestMetricsLint holds the names to the rules of promtool check metrics.
func TestMetricsLint(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	var exposition strings.Builder
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(string(page), -1) {
		kind := "gauge"
		if strings.HasSuffix(row[1], "_total") {
			kind = "counter"
		}
		fmt.Fprintf(&exposition, "# HELP %s %s\n# TYPE %s %s\n%s 0\n", row[1], row[2], row[1], kind, row[1])
	}
	problems, err := promlint.New(strings.NewReader(exposition.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

var description = regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

func metricsReference(t *testing.T, c *catalog) string {
	t.Helper()
	var rows []string
	for _, d := range c.descriptions() {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("%s is not understood", d)
		}
		if !strings.HasPrefix(m[1], "fairlead_") {
			continue
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", m[1], strings.ReplaceAll(m[2], `\"`, `"`), strings.ReplaceAll(m[3], ",", ", ")))
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	return "# Metrics\n\n" +
		"What `/metrics` reports besides the Go runtime's and the process's own, and those of k8s.io/apiserver, whose names begin with\n`apiserver_`. Generated: `go test ./internal/daemon -run Metrics -update`.\n\n" +
		"| name | meaning | labels |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}
