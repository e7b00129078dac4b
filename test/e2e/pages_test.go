package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPages runs every console block of the pages that show terminal sessions, as they stand there: each page in a
// network of its own, so that the ports are those of the page. `go test ./test/e2e -run Pages -update` writes the pages
// anew with what was really printed.
func TestPages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	debs := fetchAhead(t, root)
	pages, err := filepath.Glob(filepath.Join(root, "examples", "*", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.Join(root, "docs/tutorial/first-service.md"))
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "```console\n") {
			continue
		}
		rel, dir := strings.TrimPrefix(page, root+"/"), filepath.Dir(page)
		if strings.HasPrefix(rel, "docs/") {
			dir = root
		}
		t.Run(rel, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, root, dir, debs)
			got := s.play(string(text))
			if !*update {
				return
			}
			if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// fetchAhead downloads, while there is a network, what the sessions need without one.
func fetchAhead(t *testing.T, root string) (debs string) {
	t.Helper()
	debs = filepath.Join(os.TempDir(), "fairlead-test-debs") // kept: it is the same every time
	offline := exec.CommandContext(t.Context(), filepath.Join(root, "examples/offline-images"))
	offline.Env = append(os.Environ(), "FAIRLEAD_DEBS="+debs, "FAIRLEAD=true")
	if out, err := offline.CombinedOutput(); err != nil {
		t.Fatalf("download packages: %v\n%s", err, out)
	}
	for _, module := range []string{"grpc", "websocket"} {
		download := exec.CommandContext(t.Context(), "go", "mod", "download")
		download.Dir = filepath.Join(root, "examples", module)
		if out, err := download.CombinedOutput(); err != nil {
			t.Fatalf("download modules of %s: %v\n%s", module, err, out)
		}
	}
	return debs
}

// session is one shell in a network namespace of its own. Commands are given to it one by one.
type session struct {
	t    *testing.T
	home string
	in   *os.File
	out  *lockedBuffer
	n    int // commands so far
}

func newSession(t *testing.T, root, dir, debs string) *session {
	t.Helper()
	s := &session{t: t, home: t.TempDir(), out: &lockedBuffer{}}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = theirs
	shell := exec.Command("unshare", "--net", "bash", "--norc", "--noprofile")
	shell.Dir, shell.Stdin, shell.Stdout, shell.Stderr = dir, ours, s.out, s.out
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasPrefix(name, "FAIRLEAD_") && !strings.HasPrefix(name, "XDG_") && name != "KUBECONFIG" {
			shell.Env = append(shell.Env, v)
		}
	}
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	caches := strings.Fields(string(out))
	shell.Env = append(shell.Env, "HOME="+s.home, "GOCACHE="+caches[0], "GOMODCACHE="+caches[1], "FAIRLEAD_DEBS="+debs, "NO_COLOR=1",
		"PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH")+":/usr/sbin:/sbin", "FAIRLEAD_ROOT="+root)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	t.Cleanup(func() {
		// Daemons that the page started end with it.
		s.send("for job in $(jobs -p); do kill -INT $job; done 2>/dev/null; wait")
		theirs.Close()
		stop := time.AfterFunc(patience, func() { _ = shell.Process.Kill() })
		defer stop.Stop()
		var exit *exec.ExitError
		if err := shell.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	s.run("ip link set lo up")
	if page := strings.TrimPrefix(dir, root); strings.HasPrefix(page, "/examples/") {
		s.run("fairlead serve &") // what the pages of the examples begin with, "A daemon runs"
	}
	return s
}

func (s *session) send(line string) {
	s.t.Helper()
	if _, err := s.in.WriteString(line + "\n"); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command and gives what it printed. One that ends with & goes on, and a daemon started so is waited for.
func (s *session) run(command string) string {
	s.t.Helper()
	s.n++
	script := filepath.Join(s.home, "command")
	background := strings.HasSuffix(command, "&")
	if background {
		command = strings.TrimSuffix(command, "&") + " >" + filepath.Join(s.home, "background") + " 2>&1 &"
	}
	if err := os.WriteFile(script, []byte(command+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	before := len(s.out.String())
	mark := "\x01end of command\x01"
	s.send(". " + script + " </dev/null; printf '\\001end of command\\001 %s' $?")
	waitFor(s.t, command, func() bool { return strings.Contains(s.out.String()[before:], mark+" ") })
	printed, status, _ := strings.Cut(s.out.String()[before:], mark+" ")
	if background && strings.Contains(command, "fairlead serve") {
		s.run("for i in $(seq 600); do fairlead list >/dev/null 2>&1 && break; sleep 0.1; done")
	}
	if status != "0" {
		log, _ := os.ReadFile(filepath.Join(s.home, "background"))
		s.t.Fatalf("$ %s\n%s\nended with %s; the daemon's log:\n%s", command, printed, status, log)
	}
	return strings.ReplaceAll(printed, s.home, "/home/you")
}

// play runs the console blocks of a page and holds what they print against the page; it gives the page with what was
// printed in place of what it says.
func (s *session) play(page string) string {
	s.t.Helper()
	return consoleForm.ReplaceAllStringFunc(page, func(block string) string {
		var b bytes.Buffer
		b.WriteString("```console\n")
		body := strings.TrimSuffix(strings.TrimPrefix(block, "```console\n"), "```")
		for _, part := range strings.Split("\n"+body, "\n$ ")[1:] {
			lines := strings.Split(strings.TrimSuffix(part, "\n"), "\n")
			command, want := lines[0], lines[1:]
			for strings.HasSuffix(command, `\`) || len(want) > 0 && strings.HasPrefix(want[0], "> ") {
				command, want = command+"\n"+strings.TrimPrefix(want[0], "> "), want[1:]
			}
			said := strings.Join(want, "\n")
			got := waitingForm.ReplaceAllString(strings.TrimSuffix(s.run(command), "\n"), "")
			if settle(got) == settle(said) {
				got = said
			} else if !*update {
				s.t.Errorf("$ %s\nprints\n%s\nthe page says\n%s", command, got, said)
			}
			b.WriteString("$ " + strings.ReplaceAll(command, "\n", "\n> ") + "\n")
			if got != "" {
				b.WriteString(strings.TrimSuffix(got, "\n") + "\n")
			}
		}
		b.WriteString("```")
		return b.String()
	})
}

var (
	consoleForm = regexp.MustCompile("(?s)```console\n.*?\n```")
	// Which steps are seen while a service becomes ready depends on the machine; the pages leave them out.
	waitingForm = regexp.MustCompile(`(?m)^Waiting.*\n?`)
	// What differs from run to run, and what stands for it on both sides.
	varying = []struct {
		form *regexp.Regexp
		as   string
	}{
		{regexp.MustCompile(`\b[0-9a-f]{12,64}\b`), "<digest>"},
		{regexp.MustCompile(`\b([0-9]+(\.[0-9]+)?(µs|ms|s|m|h|d))+\b`), "<time>"},
		{regexp.MustCompile(`\b[0-9]+(\.[0-9]+)? (KiB|MiB|GiB)`), "<size>"},
		{regexp.MustCompile(`\b[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9:]{8}\b`), "<date>"},
		{regexp.MustCompile(`-deployment-[0-9a-z-]+`), "-deployment-<instance>"},
		{regexp.MustCompile(`(?m)^base .*\n?`), ""}, // a machine with a network takes the usual base image
		{regexp.MustCompile(`[ \t]+`), " "},
	}
)

// settle makes two runs of the same commands comparable.
func settle(text string) string {
	for _, v := range varying {
		text = v.form.ReplaceAllString(text, v.as)
	}
	return strings.TrimSpace(text)
}
