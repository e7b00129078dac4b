package main

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// TestChurn is the short form of the program: every change once, on a few connections. FAIRLEAD_CHURN is the least
// number of requests, which every kind of client sends then.
func TestChurn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	requests, clients := int64(5000), []string{"http", "tls"}
	if text := os.Getenv("FAIRLEAD_CHURN"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		requests, clients = n, slices.Sorted(maps.Keys(kinds))
	}
	for _, client := range clients {
		t.Run(client, func(t *testing.T) {
			if err := churn(t.Context(), t.Output(), setup{program(t), "../../examples/hello", client, requests}, 16); err != nil {
				t.Fatal(err)
			}
		})
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
