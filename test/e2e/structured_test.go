package e2e_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"reflect"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"
)

// structuredCommand is `structured COMMAND ARGS...`: it runs fairlead with -o json and with -o yaml, which have to be what they say
// and nothing else, and prints the JSON. `structured -same` also holds the two against each other: what does not change in between.
func structuredCommand(ts *testscript.TestScript, neg bool, args []string) {
	same := len(args) > 0 && args[0] == "-same"
	if same {
		args = args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: structured [-same] COMMAND ARGS...")
	}
	var fromJSON, fromYAML any
	text := printed(ts, append(args, "-o", "yaml"))
	if err := yaml.UnmarshalStrict(text, &fromYAML); err != nil {
		ts.Fatalf("%v -o yaml: %v\n%s", args, err, text)
	}
	text = printed(ts, append(args, "-o", "json"))
	if err := json.Unmarshal(text, &fromJSON); err != nil {
		ts.Fatalf("%v -o json: %v\n%s", args, err, text)
	}
	if fromJSON == nil || fromYAML == nil {
		ts.Fatalf("%v prints null, which no program expects", args)
	}
	if same && !reflect.DeepEqual(fromJSON, fromYAML) {
		ts.Fatalf("%v prints other things as JSON and as YAML:\n%v\n%v", args, fromJSON, fromYAML)
	}
	if _, err := ts.Stdout().Write(text); err != nil {
		ts.Fatalf("%v", err)
	}
}

// printed is what fairlead prints as result; it may end with 1, as doctor does where it finds a problem.
func printed(ts *testscript.TestScript, args []string) []byte {
	d := ts.Value(daemonKey{}).(*runningDaemon)
	cmd := exec.Command(binary, args...)
	var out, notes bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), environment(ts, d.env.Vars), &out, &notes
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		ts.Fatalf("%v: %v\n%s", args, err, &notes)
	}
	return out.Bytes()
}
