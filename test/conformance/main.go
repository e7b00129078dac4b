// Command conformance runs the Knative Serving conformance suites, as they are in the module knative.dev/serving, against
// a Fairlead of its own in a temporary home, or against any other Knative through a kubeconfig. Nothing of the suites is
// copied: the test binaries and the images they run are built from the module that go.mod pins.
//
// It prints a line for each test and the counts, keeps the full output of every suite and the daemon's log in a folder,
// and ends with status 1 if a test failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// runner holds what one run needs; the first part are flags.
type runner struct {
	binary, kubeconfig, repository, suites, run, skip string
	ingress, domain, logLevel, out                    string
	daemonArgs, suiteArgs                             []string
	parallel                                          int
	timeout, startLimit                               time.Duration
	keep, buildOnly, failfast                         bool

	moduleDir string // this module
	upstream  string // the folder test of knative.dev/serving
	home      string // of the daemon
}

func main() {
	r := &runner{}
	r.flags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := r.execute(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func (r *runner) flags() {
	var daemonArgs, suiteArgs string
	flag.StringVar(&r.binary, "binary", "", "program under test (default bin/fairlead of the repository)")
	flag.StringVar(&r.kubeconfig, "kubeconfig", "", "use this running Knative instead of starting a daemon; needs -repository")
	flag.StringVar(&r.repository, "repository", "", "repository for the images (default the daemon's registry)")
	flag.StringVar(&r.suites, "suites", "conformance", "comma-separated suites: conformance, all, "+strings.Join(suiteNames(), ", "))
	flag.StringVar(&r.run, "run", "", "only tests that match this expression, as with go test")
	flag.StringVar(&r.skip, "skip", "", "not the tests that match this expression, as with go test")
	flag.StringVar(&r.ingress, "ingress", "127.0.0.1", "address at which the gateway is reached; its ports come from the API")
	flag.StringVar(&r.domain, "domain", "example.com", "domain of the services")
	flag.StringVar(&r.logLevel, "daemon-log-level", "info", "log level of the daemon")
	flag.StringVar(&r.out, "out", "", "folder for reports and logs (default bin/conformance-serving of the repository)")
	flag.StringVar(&daemonArgs, "daemon-args", "", "further arguments of the daemon, separated by blanks")
	flag.StringVar(&suiteArgs, "suite-args", "", "further arguments of the suites, separated by blanks")
	flag.IntVar(&r.parallel, "parallel", 4, "tests of a suite that run at once")
	flag.DurationVar(&r.timeout, "timeout", 45*time.Minute, "limit for each suite")
	flag.DurationVar(&r.startLimit, "start-limit", 60*time.Second, "limit for the daemon's start")
	flag.BoolVar(&r.keep, "keep", false, "keep the daemon's home")
	flag.BoolVar(&r.failfast, "failfast", false, "start no further test of a suite after a failure")
	flag.BoolVar(&r.buildOnly, "build-only", false, "build suites and images and run nothing")
	flag.Parse()
	r.daemonArgs, r.suiteArgs = strings.Fields(daemonArgs), strings.Fields(suiteArgs)
}

// execute does the whole run and tells whether every test passed or was skipped.
func (r *runner) execute(ctx context.Context) (bool, error) {
	chosen, err := choose(r.suites)
	if err != nil {
		return false, err
	}
	if err := r.locate(ctx); err != nil {
		return false, err
	}
	images := filepath.Join(r.out, "images")
	r.note("building %d suites and %d images", len(chosen), len(imagePackages()))
	for _, s := range chosen {
		if err := r.buildSuite(ctx, s); err != nil {
			return false, err
		}
	}
	if err := r.buildImages(ctx, images); err != nil {
		return false, err
	}
	if r.buildOnly {
		return true, nil
	}
	if r.kubeconfig != "" && r.repository == "" {
		return false, errors.New("-kubeconfig needs -repository, from which that Knative can pull")
	}
	if r.kubeconfig == "" {
		home, err := os.MkdirTemp("", "fairlead-conformance-")
		if err != nil {
			return false, err
		}
		r.home = home
		stop, err := r.startDaemon(ctx)
		if err != nil {
			return false, err
		}
		defer r.finish(stop)
	}
	return r.runSuites(ctx, chosen, images)
}

// finish stops the daemon and removes its home.
func (r *runner) finish(stop func() error) {
	if err := stop(); err != nil {
		r.note("daemon: %v", err)
	}
	if r.keep {
		r.note("the daemon's home is %s", r.home)
		return
	}
	if err := os.RemoveAll(r.home); err != nil {
		r.note("remove the daemon's home: %v", err)
	}
}

// locate finds the module, the upstream folder and the place for reports.
func (r *runner) locate(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the module of the suites: %w", err)
	}
	r.moduleDir = filepath.Dir(strings.TrimSpace(string(out)))
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "knative.dev/serving")
	list.Stderr = os.Stderr
	out, err = list.Output()
	if err != nil {
		return fmt.Errorf("find the module knative.dev/serving: %w", err)
	}
	r.upstream = filepath.Join(strings.TrimSpace(string(out)), "test")
	root := filepath.Dir(filepath.Dir(r.moduleDir))
	if r.binary == "" {
		r.binary = filepath.Join(root, "bin", "fairlead")
	}
	if r.out == "" {
		r.out = filepath.Join(root, "bin", "conformance-serving")
	}
	return os.MkdirAll(filepath.Join(r.out, "images"), 0o755)
}

func (r *runner) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "conformance: "+format+"\n", args...)
}
