package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// buildSuite compiles the test binary of one suite from the upstream package.
func (r *runner) buildSuite(ctx context.Context, s suite) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", s.tags, "-o", r.suiteBinary(s), testRoot+"/"+s.path)
	cmd.Dir = r.moduleDir
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build suite %s: %w", s.name, err)
	}
	return nil
}

func (r *runner) suiteBinary(s suite) string { return filepath.Join(r.out, s.file()+".test") }

// runSuites prepares the API and the images, runs the suites one after another and prints the report.
func (r *runner) runSuites(ctx context.Context, chosen []suite, images string) (bool, error) {
	c, err := connect(r.kubeconfig)
	if err != nil {
		return false, err
	}
	if r.repository == "" {
		registry, err := c.registry(ctx)
		if err != nil {
			return false, err
		}
		r.repository = registry + "/conformance"
	}
	r.note("pushing images to %s", r.repository)
	if err := r.pushImages(ctx, images); err != nil {
		return false, err
	}
	if err := c.createTestObjects(ctx, r.upstream); err != nil {
		return false, err
	}
	logging, err := requestLogging(r.upstream)
	if err != nil {
		return false, err
	}
	if _, err := c.apply(ctx, append(baseSettings(), logging...)); err != nil {
		return false, err
	}
	var results []*result
	ok := true
	for _, s := range chosen {
		if ctx.Err() != nil {
			break
		}
		undo, err := c.apply(ctx, s.settings)
		if err != nil {
			return false, err
		}
		r.note("running %s", s.name)
		found, err := r.runSuite(ctx, s)
		if err != nil {
			r.note("%v", err)
			ok = false
		}
		results = append(results, found...)
		if err := c.restore(context.WithoutCancel(ctx), undo); err != nil {
			return false, err
		}
	}
	report, err := os.Create(filepath.Join(r.out, "report.txt"))
	if err != nil {
		return false, err
	}
	defer report.Close()
	printReport(report, results)
	return printReport(os.Stdout, results) && ok && ctx.Err() == nil, nil
}

// runSuite runs one suite and collects its results. The error is about the suite as a whole: it ended in a failure.
func (r *runner) runSuite(ctx context.Context, s suite) ([]*result, error) {
	suiteLog, err := os.Create(filepath.Join(r.out, s.file()+".log"))
	if err != nil {
		return nil, err
	}
	defer suiteLog.Close()
	cmd := exec.Command("go", append([]string{"tool", "test2json", "-t", "-p", s.name, r.suiteBinary(s)}, r.suiteFlags()...)...)
	cmd.Dir = r.moduleDir
	cmd.Stderr = suiteLog
	cmd.Env = r.suiteEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run suite %s: %w", s.name, err)
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) })
	defer stop()
	results, readErr := readEvents(s.name, stdout, func(res *result) {
		r.note("%s %-10s %s (%.1f s)", time.Now().UTC().Format(time.TimeOnly), res.outcome, res.test, res.seconds)
		fmt.Fprintf(suiteLog, "===== %s %s\n%s\n", res.outcome, res.test, strings.Join(res.output, ""))
	})
	for _, res := range results {
		if res.outcome == "unfinished" {
			fmt.Fprintf(suiteLog, "===== %s %s\n%s\n", res.outcome, res.test, strings.Join(res.output, ""))
		}
	}
	if err := cmd.Wait(); err != nil {
		return results, fmt.Errorf("suite %s: %w; its output is %s", s.name, err, suiteLog.Name())
	}
	return results, readErr
}

// suiteFlags are those of the upstream test binaries.
func (r *runner) suiteFlags() []string {
	flags := []string{
		"-test.v=test2json", fmt.Sprintf("-test.parallel=%d", r.parallel), "-test.timeout=" + r.timeout.String(),
		"-kubeconfig=" + r.kubeconfig, "-dockerrepo=" + r.repository, "-ingressendpoint=" + r.ingress,
		"-resolvabledomain=false", "-enable-alpha", "-enable-beta", "-disable-logstream",
	}
	if r.run != "" {
		flags = append(flags, "-test.run="+r.run)
	}
	if r.skip != "" {
		flags = append(flags, "-test.skip="+r.skip)
	}
	if r.failfast {
		flags = append(flags, "-test.failfast")
	}
	return append(flags, r.suiteArgs...)
}

// suiteEnv is a small environment, so that nothing of the caller's decides a result; the caller may say where another
// Knative has its gateway.
func (r *runner) suiteEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOTOOLCHAIN", "TMPDIR", "GATEWAY_OVERRIDE", "GATEWAY_NAMESPACE_OVERRIDE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, "SYSTEM_NAMESPACE="+systemNamespace)
}
