package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// terminal is where a command reads from and writes to: results on out, everything else on err.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// human says that out is a terminal, so that colour and live progress are welcome there.
	human bool
}

func newTerminal(in, out, err *os.File) *terminal {
	return &terminal{in: in, out: out, err: err, human: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// interactive says that results go to a person's terminal, with or without colour.
func (t *terminal) interactive() bool {
	out, isFile := t.out.(*os.File)
	return isFile && isTerminal(out)
}

// note writes a line for the person who watches, never a result.
func (t *terminal) note(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

// usageError is a command line that cannot be carried out as written.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// hinted is an error that knows what the person could try next.
type hinted struct {
	err error
	try string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }

// Try is the advice shown on the line below the error.
func (e hinted) Try() string { return e.try }

// withTry adds advice to an error; nil stays nil.
func withTry(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

// exitStatus ends a command with a code of its own after it has said everything itself.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitCode prints an error of a command the way people see it and gives the exit code that belongs to it.
func (t *terminal) exitCode(ctx context.Context, command string, err error) int {
	if err == nil {
		return exitOK
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	// A watch that is cut off says so in the words of the server, not by the type of its error.
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || strings.Contains(err.Error(), context.Canceled.Error())) {
		t.note("fairlead: interrupted")
		return exitInterrupted
	}
	t.note("fairlead: %v", err)
	t.note("try: %s", advice(command, err))
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
