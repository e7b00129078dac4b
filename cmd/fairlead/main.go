// Command fairlead runs code the cloud native way on one machine: it serves the Knative APIs without Kubernetes
// and runs services in sandboxes that scale from zero to many and back.
//
// Each command lives in a file of its own and is a client of the API; none has a private door into the daemon.
// Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 it did not work, 2 the
// command line was wrong, 130 interrupted.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/build/webserver"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain())
	}
	if len(os.Args) > 1 && os.Args[1] == build.ServerArg {
		os.Exit(webserver.Main(os.Args[2:]))
	}
	// What the Kubernetes libraries would log beside a command's own errors is about their insides; a daemon sets a log for it.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and gives the exit code. The first SIGINT or SIGTERM cancels the command's context,
// a second one ends the process at once.
func run(args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	term := newTerminal(stdin, stdout, stderr)
	root := newRootCommand(term)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return term.exitCode(ctx, cmd.CommandPath(), err)
}
