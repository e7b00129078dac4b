package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// mistake is a command line that cannot work, on a machine without a daemon.
type mistake struct {
	args string
	code int
	says string // part of the error
}

const noDaemon = "no daemon is running"

// mistakes has wrong input for every command: what is left out makes the test fail.
func mistakes() map[string][]mistake {
	return map[string][]mistake{
		"run": {{"a b", 2, "takes one path or image"}, {". --env =x", 2, "env"}, {". --scale 3..1", 2, "scale"}, {"./nothing", 1, "nothing"},
			{". --port 70000", 2, "port"}, {". --port grpc:80", 2, "h2c or http1"}, {". --port h2c:", 2, "not a port"}, {"image --package x", 2, "--package is for a folder"},
			{"static --package ./x", 2, "means nothing to the static builder"}, {". --builder no", 2, "no builder is called"}, {". --build-arg A=b", 2, "means nothing to the go builder"}, {". --memory much", 2, "much"}, {". --name 1_", 2, "1_"}, {". --name My_App", 2, "--name my-app"}, {". --isolation full", 2, "full"}},
		"deploy":       {{".", 1, noDaemon}, {". --name hello-", 2, "does not end with a dash"}, {". --concurrency -1", 2, "concurrency"}, {". --wait soon", 2, "soon"}, {". --wait -1s", 2, "negative"}},
		"build":        {{".", 1, noDaemon}, {"a b", 2, "argument"}, {". --explain -o xml", 2, "xml"}, {"static --package x", 2, "static builder"}, {"nowhere --explain", 1, "nowhere"}, {". --name Hello", 2, "--name hello"}},
		"dev":          {{"a b", 2, "argument"}, {". --name 1", 2, "begins with a letter"}, {"static --package x", 2, "static builder"}, {"nowhere", 2, "nowhere"}},
		"up":           {{"-d -f nowhere", 2, "nowhere"}, {"-d --wait -1s", 2, "negative"}, {"-d -f bare", 1, "there is no compose.yaml"}, {"-d -f compose.yaml", 1, "compose.yaml:1: services.a.imagee is not a key"}, {"x", 2, "takes 0 arguments"}},
		"down":         {{"-f nowhere", 2, "nowhere"}, {"x", 2, "takes 0 arguments"}},
		"list":         {{"", 1, noDaemon}, {"x", 2, "takes 0 arguments"}, {"-o xml", 2, "xml"}},
		"revisions":    {{"", 1, noDaemon}, {"a b", 2, "takes"}, {"-o xml", 2, "xml"}},
		"logs":         {{"a", 1, noDaemon}, {"", 2, "takes 1 argument"}, {"a -f -p", 2, "--previous is over"}, {"a --since -1s", 2, "negative"}},
		"traffic":      {{"a", 1, noDaemon}, {"", 2, "takes"}, {"a --to x", 2, "x"}, {"a -o xml", 2, "xml"}},
		"rollback":     {{"a", 1, noDaemon}, {"", 2, "takes"}},
		"scale":        {{"a 1", 1, noDaemon}, {"a", 2, "takes"}, {"a 3..1", 2, "3..1"}, {"a 1 --wait -1s", 2, "negative"}},
		"open":         {{"a", 1, noDaemon}, {"", 2, "takes"}},
		"exec":         {{"a -- x", 1, noDaemon}, {"a", 2, "a"}, {"", 2, ""}},
		"cp":           {{"a:/x .", 1, noDaemon}, {"a b", 2, "must be SERVICE:PATH"}, {"a", 2, "takes 2 arguments"}},
		"port-forward": {{"a 80", 1, noDaemon}, {"a x", 2, "x"}, {"a", 2, "takes"}},
		"top":          {{"", 1, noDaemon}, {"a b", 2, "takes at most"}, {"--interval 1ms", 2, "too short"}, {"-o xml", 2, "xml"}},
		"events":       {{"", 1, noDaemon}, {"a b", 2, "takes"}, {"-o xml", 2, "xml"}},

		"service create":   {{"a --image x", 1, noDaemon}, {"a", 2, "image"}, {"", 2, "takes"}},
		"service update":   {{"a --env A=b", 1, noDaemon}, {"", 2, "takes"}},
		"service list":     {{"", 1, noDaemon}, {"-o xml", 2, "xml"}},
		"service describe": {{"a", 1, noDaemon}, {"", 2, "takes the name"}},
		"service delete":   {{"a", 1, noDaemon}, {"", 2, "takes the name"}},

		"kubeconfig":    {{"", 1, noDaemon}, {"-o xml", 2, "xml"}, {"x", 2, "takes 0 arguments"}},
		"get":           {{"ksvc", 1, noDaemon}, {"ksvc -o xml", 2, "xml"}},
		"describe":      {{"a", 1, noDaemon}, {"a -o xml", 2, "xml"}},
		"apply":         {{"-f service.yaml", 1, noDaemon}, {"", 2, "-f"}, {"-f service.yaml --dry-run perhaps", 2, "perhaps"}},
		"delete":        {{"a", 1, noDaemon}, {"", 2, ""}},
		"wait":          {{"ksvc a --for condition=Ready", 1, noDaemon}, {"ksvc a --for nothing", 2, "nothing"}, {"ksvc a --for delete --timeout -1s", 2, "negative"}},
		"explain":       {{"ksvc", 1, noDaemon}, {"", 2, "takes"}},
		"api-resources": {{"", 1, noDaemon}, {"-o xml", 2, "xml"}, {"x", 2, "takes 0"}},

		"serve":      {{"x", 2, "takes 0"}, {"--api-listen nowhere", 2, "nowhere"}, {"--domain -x-", 2, "-x-"}, {"--runtime nothing", 2, "nothing"}},
		"image list": {{"", 1, noDaemon}, {"-o xml", 2, "xml"}}, "image inspect": {{"a", 1, noDaemon}, {"", 2, "takes 1"}},
		"image tag": {{"a b", 1, noDaemon}, {"a", 2, "takes 2"}}, "image remove": {{"a", 1, noDaemon}, {"", 2, ""}},
		"image prune": {{"", 1, noDaemon}, {"x", 2, "takes 0"}}, "image pull": {{"a", 1, noDaemon}, {"", 2, "takes 1"}},
		"image export": {{"a f", 1, noDaemon}, {"a", 2, "takes 2"}}, "image import": {{"f", 1, noDaemon}, {"", 2, "takes 1"}},
		"config":  {{"x", 2, "takes 0"}, {"-o xml", 2, "xml"}, {"--log-level loud", 2, "loud"}},
		"doctor":  {{"x", 2, "takes 0"}, {"-o xml", 2, "xml"}},
		"trust":   {{"x", 2, "takes 0"}, {"", 1, ""}},
		"backup":  {{"f", 1, ""}, {"", 2, "takes 1"}},
		"restore": {{"nowhere", 1, "nowhere"}, {"", 2, "takes 1"}},
		"man":     {{"a b", 2, ""}},
		"version": {{"x", 2, "takes 0"}, {"-o xml", 2, "xml"}},
		"help":    {},

		"completion bash": {{"x", 2, "takes 0"}}, "completion zsh": {{"x", 2, "takes 0"}}, "completion fish": {{"x", 2, "takes 0"}}, "completion powershell": {{"x", 2, "takes 0"}},
	}
}

// TestMistakes gives every command wrong input. It ends with the documented code, prints no result, and says what to try.
func TestMistakes(t *testing.T) {
	home := t.TempDir()
	t.Setenv("FAIRLEAD_HOME", filepath.Join(home, "none"))
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", filepath.Join(home, "kubeconfig"))
	if err := os.MkdirAll(filepath.Join(home, "app", "bare"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(home, "app"))
	if err := os.Mkdir("static", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"compose.yaml": "services: {a: {imagee: x}}", "service.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "main.go": "package main\n", "go.mod": "module a\n",
		"static/index.html": "hello",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := mistakes()
	for _, name := range commandNames(t) {
		list, known := all[name]
		if !known {
			t.Errorf("fairlead %s: give it wrong input here", name)
		}
		for _, m := range append(list, mistake{"--no-such-flag", 2, "unknown flag"}) {
			checkMistake(t, append(strings.Fields(name), strings.Fields(m.args)...), m)
		}
	}
}

func checkMistake(t *testing.T, args []string, m mistake) {
	t.Helper()
	var out, notes bytes.Buffer
	term := &terminal{in: strings.NewReader(""), out: &out, err: &notes}
	root := newRootCommand(term)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(t.Context())
	code := term.exitCode(context.Background(), cmd.CommandPath(), err)
	line := "fairlead " + strings.Join(args, " ")
	if code != m.code {
		t.Errorf("%s ends with %d, want %d:\n%s", line, code, m.code, notes.String())
	}
	lines := strings.Split(strings.TrimSpace(notes.String()), "\n")
	said, try := notes.String(), lines[len(lines)-1]
	if !strings.Contains(said, "fairlead: ") || !strings.Contains(said, m.says) || !strings.HasPrefix(try, "try: ") || len(try) < 8 {
		t.Errorf("%s does not say %q and what to try:\n%s", line, m.says, said)
	}
	if out.Len() > 0 {
		t.Errorf("%s prints a result: %s", line, out.String())
	}
}

// commandNames are all commands that do something.
func commandNames(t *testing.T) []string {
	t.Helper()
	root := newRootCommand(&terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	root.InitDefaultCompletionCmd()
	var names []string
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		for _, sub := range cmd.Commands() {
			if sub.HasSubCommands() {
				walk(sub, path+sub.Name()+" ")
			} else {
				names = append(names, path+sub.Name())
			}
		}
	}
	walk(root, "")
	return names
}

// TestOutputFlag holds every command that prints a result to -o json and -o yaml.
func TestOutputFlag(t *testing.T) {
	without := map[string]string{
		"api-resources": "-o wide and -o name, as kubectl", "apply": "-o of kubectl", "get": "-o of kubectl",
		"run": "prints a URL", "deploy": "prints a URL", "dev": "prints a URL", "open": "prints a URL", "service create": "prints a URL", "service update": "prints a URL",
		"logs": "prints what programs wrote", "exec": "prints what a program writes", "explain": "is for reading", "man": "is for reading", "wait": "as kubectl",
		"up": "--print shows the manifests", "down": "", "rollback": "prints the traffic for people", "scale": "prints one line", "cp": "", "port-forward": "prints one line",
		"delete": "as kubectl", "service delete": "as kubectl", "serve": "", "trust": "", "backup": "", "restore": "",
		"image tag": "prints a name", "image remove": "", "image pull": "prints a name", "image export": "", "image import": "prints a name",
		"completion bash": "", "completion zsh": "", "completion fish": "", "completion powershell": "", "help": "",
	}
	root := newRootCommand(&terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	for _, name := range commandNames(t) {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil {
			continue // completion and help, which cobra adds
		}
		_, exempt := without[name]
		flag := cmd.Flags().Lookup("output")
		switch {
		case exempt:
		case flag == nil:
			t.Errorf("fairlead %s has no -o json|yaml", name)
		case flag.Value.Set("json") != nil || flag.Value.Set("yaml") != nil:
			t.Errorf("fairlead %s does not take -o json and -o yaml: %s", name, flag.Usage)
		}
	}
}
