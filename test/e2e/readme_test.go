package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReadme runs the commands under "Use it" of the README as they stand there, but on free ports and in a home
// folder of its own.
func TestReadme(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 120 {
		t.Errorf("README.md has %d lines, the limit is 120", lines)
	}
	home := t.TempDir()
	gateway := freeAddress(t)
	script := readmeScript(t, string(text), gateway)
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(),
		"HOME="+home, "FAIRLEAD_HOME="+filepath.Join(home, "fairlead"), "KUBECONFIG="+filepath.Join(home, "config"),
		"FAIRLEAD_GATEWAY_LISTEN="+gateway, "GOFLAGS="+os.Getenv("GOFLAGS"),
	)
	for _, name := range []string{"API", "GATEWAY_TLS", "REGISTRY", "METRICS"} {
		cmd.Env = append(cmd.Env, "FAIRLEAD_"+name+"_LISTEN="+freeAddress(t))
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
	}
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the commands of the README fail: %v\n%s", err, out)
	}
	for _, want := range []string{"Hello World!", "hello-00001", `service.serving.knative.dev "hello" deleted`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the commands of the README do not print %q:\n%s", want, out)
		}
	}
}

// TestReadmeSession plays the terminal session at the top of the README: run in one terminal, a request from another, Ctrl-C.
func TestReadmeSession(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleForm.FindAllString(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("README.md has %d recorded sessions, want that of each terminal", len(blocks))
	}
	run, said := recorded(blocks[0])
	ask, answer := recorded(blocks[1])
	s := newSession(t, root, root, "")
	printed := func() string {
		text, err := os.ReadFile(filepath.Join(s.home, "background")) // where run puts it
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), s.home, "/home/you")
	}
	s.run(run + " &")
	waitFor(t, "the program runs", func() bool { return strings.Contains(printed(), "Ctrl-C ends the service") })
	if got := s.run(strings.Replace(ask, "curl ", "curl -sS ", 1)); settle(got) != settle(answer) {
		t.Errorf("$ %s\nprints\n%s\nthe README says\n%s", ask, got, answer)
	}
	waitFor(t, "the log of the request", func() bool { return strings.Contains(printed(), "GET /") })
	s.run("kill -INT $! && wait $!")
	got, want := waitingForm.ReplaceAllString(printed(), ""), strings.Replace(said, "^C\n", "", 1)
	if settle(got) != settle(want) {
		t.Errorf("$ %s\nprints\n%s\nthe README says\n%s", run, got, want)
	}
}

// recorded takes a block with one command apart.
func recorded(block string) (command, printed string) {
	body := strings.TrimSuffix(strings.TrimPrefix(block, "```console\n$ "), "```")
	command, printed, _ = strings.Cut(body, "\n")
	return command, printed
}

// readmeScript joins the shell blocks below "Use it" to one script that stops the daemon at its end.
func readmeScript(t *testing.T, readme, gateway string) string {
	t.Helper()
	_, section, found := strings.Cut(readme, "\n## Use it\n")
	if !found {
		t.Fatal(`README.md has no section "Use it"`)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d shell blocks below \"Use it\", want at least 2", len(blocks))
	}
	_, port, err := net.SplitHostPort(gateway)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("trap 'kill -INT $(jobs -p); wait' EXIT\n")
	for _, b := range blocks {
		commands := strings.ReplaceAll(b[1], "http://hello.default.localhost:8080",
			fmt.Sprintf("--resolve hello.default.localhost:%s:127.0.0.1 http://hello.default.localhost:%s", port, port))
		// A person waits for the daemon's "ready"; so does the script.
		commands = regexp.MustCompile(`(?m)^(bin/fairlead serve &.*)$`).ReplaceAllString(commands,
			"$1\nfor i in $$(seq 600); do bin/fairlead list >/dev/null 2>&1 && break; sleep 0.1; done")
		script.WriteString(commands)
	}
	return script.String()
}

// freeAddress gives an address that nothing listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
