package main

import (
	"os"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

var fairlead realdaemon.Program

func TestMain(m *testing.M) { os.Exit(fairlead.Run(m)) }

// TestMarks is the short form of the program: few requests, of which none may fail. How fast they are is for the program to say.
func TestMarks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	binary, err := fairlead.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := measure(t.Context(), t.Output(), setup{binary: binary, program: "testdata/sleeper", rate: 50, duration: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
}
