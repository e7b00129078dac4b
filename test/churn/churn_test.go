package main

import (
	"os"
	"strconv"
	"testing"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// TestChurn is the short form of the program: every change once, on a few connections. FAIRLEAD_CHURN is the least number of requests.
func TestChurn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	requests := int64(5000)
	if text := os.Getenv("FAIRLEAD_CHURN"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		requests = n
	}
	if err := churn(t.Context(), t.Output(), program(t), "../../examples/hello", requests, 16); err != nil {
		t.Fatal(err)
	}
}

var fairlead realdaemon.Program

func TestMain(m *testing.M) { os.Exit(fairlead.Run(m)) }

// program gives the compiled fairlead.
func program(t *testing.T) string {
	t.Helper()
	binary, err := fairlead.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
