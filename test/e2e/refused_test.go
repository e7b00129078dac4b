package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// refusedCommand is `refused CODE ARGS...`: fairlead with these arguments ends with the code, prints no result, and says on standard
// error what is wrong and, on the last line, what to try.
func refusedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("fairlead", args[1:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	out, said := ts.ReadFile("stdout"), strings.TrimSpace(ts.ReadFile("stderr"))
	if code != want {
		ts.Fatalf("fairlead %v ends with %d, want %d", args[1:], code, want)
	}
	if out != "" {
		ts.Fatalf("fairlead %v is refused and prints a result", args[1:])
	}
	last := said[strings.LastIndex(said, "\n")+1:]
	if !regexp.MustCompile(`(?m)^fairlead: .`).MatchString(said) || !regexp.MustCompile(`^try: .{3}`).MatchString(last) {
		ts.Fatalf("fairlead %v does not say what is wrong and what to try", args[1:])
	}
	if strings.Contains(last, "and the daemon's log") {
		ts.Fatalf("fairlead %v has no advice of its own: %s", args[1:], last)
	}
}

// interruptCommand is `interrupt CODE PATTERN ARGS...`: it runs fairlead until it has a connection and its output matches, sends SIGINT,
// and holds it to an exit code. What it printed is the output of the command.
func interruptCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt CODE PATTERN ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	var said lockedBuffer
	cmd := exec.Command(binary, args[2:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environment(ts, ts.Value(daemonKey{}).(*runningDaemon).env.Vars)
	cmd.Stdout, cmd.Stderr = &said, &said
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for signalled := false; ; {
		select {
		case <-ended:
			if code := cmd.ProcessState.ExitCode(); !signalled || code != want {
				ts.Fatalf("fairlead %v: interrupted: %v, ends with %d, want %d:\n%s", args[2:], signalled, code, want, said.String())
			}
			_, err := ts.Stdout().Write([]byte(said.String()))
			ts.Check(err)
			return
		case <-deadline.C:
			_ = cmd.Process.Kill()
			ts.Fatalf("fairlead %v: interrupted: %v, and does not end:\n%s", args[2:], signalled, said.String())
		case <-tick.C:
			if !signalled && pattern.MatchString(said.String()) && connected(cmd.Process.Pid) {
				signalled = true
				ts.Check(cmd.Process.Signal(os.Interrupt))
			}
		}
	}
}

// connected says whether a process has a socket: it has begun to talk to the daemon, long after it began to handle signals.
func connected(pid int) bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}
