package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/rogpeppe/go-internal/testscript"
)

// freePortCommand is `freeport NAME`: it sets a variable to a port on which nobody listens, of those that the kernel gives to nobody
// by itself, so that it is still free when the script uses it.
func freePortCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	port, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], port)
}

func freePort() (string, error) {
	for range 100 {
		port := fmt.Sprint(15000 + rand.IntN(15000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no port is free")
}
