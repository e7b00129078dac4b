package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sample is one round of one program with one tool. err is the reason why there are no figures.
type sample struct {
	// daemon is how long the tool's daemon took until it answered.
	daemon time.Duration
	// first is from the first command to the first answer with nothing built; again, with everything built before; edit, after
	// a change of the source. gap is how long requests failed meanwhile.
	first, again, edit, gap time.Duration
	held                    memory
	// rest is what is held when nobody has asked for so long that the program is at zero, and wake the first answer then.
	rest *memory
	wake time.Duration
	err  error
}

// bench is one tool while it is measured.
type bench struct {
	options
	tool
	state  string // folder of this round
	env    []string
	daemon *exec.Cmd
}

// key says which row a sample is of.
type key struct{ program, tool string }

func measureAll(ctx context.Context, o options) (string, error) {
	samples := map[key][]sample{}
	for round := range o.rounds {
		for _, t := range tools(o.binary) {
			if o.only != "" && !slices.Contains(strings.Split(o.only, ","), t.name) {
				continue
			}
			log.Printf("round %d of %d: %s", round+1, o.rounds, t.name)
			if err := measureTool(ctx, o, t, round, samples); err != nil {
				return "", fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	return table(ctx, o, samples), nil
}

// measureTool brings all programs to their answers with one tool that has never run before.
func measureTool(ctx context.Context, o options, t tool, round int, samples map[key][]sample) (err error) {
	b := &bench{options: o, tool: t, state: filepath.Join(o.work, "state", fmt.Sprintf("%s-%d", t.name, round))}
	if err := os.MkdirAll(filepath.Join(b.state, "bin"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(o.binary, filepath.Join(b.state, "bin", "fairlead")); err != nil {
		return err
	}
	b.env = append(os.Environ(), "HOME="+b.state, "XDG_CACHE_HOME="+b.state+"/cache", "XDG_DATA_HOME="+b.state+"/data", "GOCACHE="+b.state+"/go-build",
		"GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", "PATH="+b.state+"/bin:"+os.Getenv("PATH"))
	b.env = append(b.env, t.environment...)
	started, err := b.startDaemon(ctx)
	defer func() { err = errors.Join(err, b.finish()) }()
	if err != nil {
		return err
	}
	for _, image := range baseImages {
		if err := b.shell(ctx, b.state, t.load+" "+image.archive(filepath.Join(o.work, "images"))); err != nil {
			return fmt.Errorf("give it the base image %s: %w", image.name, err)
		}
	}
	for _, p := range programs {
		w, ok := t.way(p)
		if !ok {
			continue
		}
		s := b.measure(ctx, p, w, round == 0)
		s.daemon = started
		if s.err != nil {
			log.Printf("%s with %s: %v", p.name, t.name, s.err)
		} else {
			log.Printf("%s with %s: first %s, again %s, edit %s", p.name, t.name, seconds(s.first), seconds(s.again), seconds(s.edit))
		}
		samples[key{p.name, t.name}] = append(samples[key{p.name, t.name}], s)
	}
	return nil
}

// measure brings one program to its answers.
func (b *bench) measure(ctx context.Context, p program, w way, rest bool) (s sample) {
	dir := filepath.Join(b.state, p.folder, "app")
	if s.err = lay(filepath.Join("examples", p.folder), dir, w.files); s.err != nil {
		return s
	}
	defer func() {
		s.err = errors.Join(s.err, b.commands(context.WithoutCancel(ctx), dir, w.stop), silence(ctx, w.host))
	}()
	if s.first, _, s.err = b.until(ctx, dir, w.start, w.host, p.answer); s.err != nil {
		return s
	}
	if s.err = b.commands(ctx, dir, w.stop); s.err != nil {
		return s
	}
	if s.err = silence(ctx, w.host); s.err != nil {
		return s
	}
	if s.again, _, s.err = b.until(ctx, dir, w.start, w.host, p.answer); s.err != nil {
		return s
	}
	if s.err = settle(ctx); s.err != nil {
		return s
	}
	s.held, _ = footprint(p.processes)
	if b.name == "Fairlead" && rest && b.rest && p.engines != nil {
		if s.err = b.toZero(ctx, p, w, &s); s.err != nil {
			return s
		}
	}
	if s.err = replace(filepath.Join(dir, p.source), p.old, p.changed); s.err != nil {
		return s
	}
	s.edit, s.gap, s.err = b.until(ctx, dir, w.edit, w.host, p.newAnswer)
	return s
}

// until gives the commands to a shell and asks all the time until the answer is there: how long that took, and for how long
// requests failed after there had been an answer.
func (b *bench) until(ctx context.Context, dir string, commands []string, host, want string) (took, gap time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- b.commands(ctx, dir, commands) }()
	var lastAnswer time.Time
	failed, running := false, true
	for {
		text, err := ask(ctx, host)
		switch now := time.Now(); {
		case err != nil:
			failed = true
		case failed && !lastAnswer.IsZero():
			gap += now.Sub(lastAnswer)
			fallthrough
		default:
			lastAnswer, failed = now, false
		}
		if err == nil && strings.HasPrefix(text, want) {
			took = time.Since(begun)
			break
		}
		select {
		case err := <-done:
			if err != nil {
				return 0, 0, err
			}
			running, done = false, nil
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("no answer %q within ten minutes: last %q, %w", want, text, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	if running {
		err = <-done
	}
	return took, gap, err
}

var client = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}

func ask(ctx context.Context, host string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8080/", nil)
	if err != nil {
		return "", err
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	return string(text), err
}

// toZero waits until the program is at zero and reads again what is held, then what the first answer takes.
func (b *bench) toZero(ctx context.Context, p program, w way, s *sample) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		if m, running := footprint(p.processes); running == 0 {
			s.rest = &m
			break
		}
		select {
		case <-ctx.Done():
			return errors.New("the program does not go to zero within five minutes")
		case <-time.After(time.Second):
		}
	}
	begun := time.Now()
	if _, err := ask(ctx, w.host); err != nil {
		return fmt.Errorf("wake the program: %w", err)
	}
	s.wake = time.Since(begun)
	return nil
}

// silence waits until nobody answers any more: a program that was stopped may still finish.
func silence(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := ask(ctx, host); err != nil {
			return ctx.Err()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settle lets what was started come to rest before its memory is read.
func settle(ctx context.Context) error {
	select {
	case <-time.After(3 * time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *bench) startDaemon(ctx context.Context) (time.Duration, error) {
	if b.tool.daemon == "" {
		return 0, nil
	}
	logFile, err := os.Create(filepath.Join(b.state, "daemon.log"))
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	begun := time.Now()
	b.daemon = exec.Command("bash", "-c", b.tool.daemon)
	b.daemon.Dir, b.daemon.Env, b.daemon.Stdout, b.daemon.Stderr = b.state, b.env, logFile, logFile
	if err := b.daemon.Start(); err != nil {
		return 0, err
	}
	for time.Since(begun) < time.Minute {
		if b.shell(ctx, b.state, b.up) == nil {
			return time.Since(begun), nil
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	text, _ := os.ReadFile(logFile.Name()) //nolint:errcheck // it is shown as far as it can be read
	return 0, fmt.Errorf("the daemon does not start:\n%s", text)
}

// finish stops the daemon and removes what the tool kept.
func (b *bench) finish() error {
	var err error
	if b.daemon != nil {
		if err = b.daemon.Process.Signal(syscall.SIGINT); err == nil {
			_ = b.daemon.Wait() // its status says nothing that matters here
		}
	}
	if strings.HasPrefix(b.name, "podman") {
		err = errors.Join(err, b.shell(context.Background(), b.state, "podman system reset --force && find /var/tmp -mindepth 1 -delete"))
	}
	if strings.HasPrefix(b.name, "docker") {
		err = errors.Join(err, b.shell(context.Background(), "/", "find /var/lib/docker -mindepth 1 -delete"))
	}
	return errors.Join(err, os.RemoveAll(b.state))
}

func (b *bench) commands(ctx context.Context, dir string, commands []string) error {
	for _, command := range commands {
		if err := b.shell(ctx, dir, command); err != nil {
			return err
		}
	}
	return nil
}

// shell runs one command; its output is in the error only.
func (b *bench) shell(ctx context.Context, dir, command string) error {
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	file, err := os.CreateTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	// A file, not a pipe: conmon would keep a pipe open.
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, b.env, file, file
	if err := cmd.Run(); err != nil {
		out, _ := os.ReadFile(file.Name()) //nolint:errcheck // it is shown as far as it can be read
		return fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return nil
}

// lay copies the source of a program and adds files.
func lay(from, to string, files map[string]string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(to, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// replace changes one place of a file.
func replace(file, old, changed string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Count(string(text), old) != 1 {
		return fmt.Errorf("%s has %q not exactly once", file, old)
	}
	return os.WriteFile(file, []byte(strings.Replace(string(text), old, changed, 1)), 0o644)
}
